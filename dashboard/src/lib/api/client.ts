// The typed client. `take` turns its answers into values or a thrown `Failure`.
import createClient from 'openapi-fetch';
import { session } from '$lib/state/session.svelte';
import { failureOf } from './failure';
import type { paths } from './schema';
import { createTransport } from './transport';

export const api = createClient<paths>({
	baseUrl: globalThis.location?.origin ?? '',
	fetch: createTransport(session, (request) => globalThis.fetch(request))
});

interface Answer<T> {
	data?: T;
	error?: unknown;
	response: Response;
}

export async function take<T>(answer: Promise<Answer<T>>): Promise<T> {
	const { data, error, response } = await answer;
	if (!response.ok) throw failureOf(response, error, '');
	return data as T;
}
