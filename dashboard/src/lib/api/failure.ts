// What a request that did not succeed leaves behind: always this one shape, whatever went wrong.
import type { ErrorCode, ErrorInfo } from './types';

/** Codes that no server sends: nothing was answered in time, or at all. */
export type LocalCode = 'timeout' | 'offline' | 'bad_answer';

export class Failure extends Error {
	constructor(
		readonly code: ErrorCode | LocalCode,
		message: string,
		readonly requestId: string,
		readonly status = 0,
		readonly details: ErrorInfo['details'] = undefined,
		/** Seconds to wait before another try, where the server said so. */
		readonly retryAfter: number | undefined = undefined
	) {
		super(message);
		this.name = 'Failure';
	}
}

function isErrorBody(value: unknown): value is { error: ErrorInfo } {
	if (typeof value !== 'object' || value === null || !('error' in value)) return false;
	const error = value.error;
	return typeof error === 'object' && error !== null && 'code' in error && 'message' in error;
}

/** Reads an answer that is not 2xx. A proxy in between may have answered with a page of its own. */
export function failureOf(response: Response, body: unknown, requestId: string): Failure {
	const id = response.headers.get('x-request-id') ?? requestId;
	if (!isErrorBody(body)) {
		const text = `The server answered ${response.status} without saying why.`;
		return new Failure('bad_answer', text, id, response.status);
	}
	const wait = Number(response.headers.get('retry-after'));
	const { code, message, details } = body.error;
	return new Failure(
		code,
		message,
		id,
		response.status,
		details,
		Number.isFinite(wait) && wait > 0 ? wait : undefined
	);
}

/** Any thrown value as a failure, so that pages handle one type. */
export function asFailure(thrown: unknown): Failure {
	if (thrown instanceof Failure) return thrown;
	const message = thrown instanceof Error ? thrown.message : String(thrown);
	return new Failure('bad_answer', message, '');
}
