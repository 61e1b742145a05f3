// What may be done with a capsule in each state, and how its state is shown.
import type { Sandbox, SandboxStatus } from '$lib/api/types';

export type Action = 'pause' | 'resume' | 'ping' | 'destroy';

const ALLOWED: Record<Action, readonly SandboxStatus[]> = {
	pause: ['running'],
	resume: ['paused', 'hibernated'],
	ping: ['running'],
	destroy: ['pending', 'starting', 'running', 'paused', 'hibernated', 'missing', 'error']
};

export function allows(status: SandboxStatus, action: Action): boolean {
	return ALLOWED[action].includes(status);
}

export type Tone = 'accent' | 'blue' | 'amber' | 'violet' | 'grey' | 'red';

export const TONES: Record<SandboxStatus, Tone> = {
	running: 'accent',
	paused: 'blue',
	pending: 'amber',
	starting: 'amber',
	hibernated: 'violet',
	stopped: 'grey',
	missing: 'amber',
	error: 'red'
};

export const STATUSES = Object.keys(TONES) as SandboxStatus[];
/** Hidden until they are asked for: what has ended. */
export const LIVE_STATUSES = STATUSES.filter(
	(status) => status !== 'stopped' && status !== 'error'
);

export function inTransition(status: SandboxStatus): boolean {
	return status === 'pending' || status === 'starting';
}

/** Seconds until the idle policy acts, if it will. */
export function idleLeft(capsule: Sandbox, now = Date.now()): number | undefined {
	if (capsule.status !== 'running' || capsule.timeout_sec === 0) return undefined;
	const since = Date.parse(capsule.last_active_at ?? capsule.started_at ?? capsule.created_at);
	return Math.max(0, capsule.timeout_sec - (now - since) / 1000);
}

/** Written by the server; a person's labels are the rest. */
const RESERVED = new Set(['kernel_version', 'vmm_version', 'agent_version', 'envd_version']);

export function labelsOf(capsule: Sandbox): [string, string][] {
	return Object.entries(capsule.metadata).filter(([key]) => !RESERVED.has(key));
}

export type Reason = NonNullable<Sandbox['reason']>;

/** Why a capsule is as it is, as a sentence. */
export const REASONS: Record<Reason, string> = {
	user: 'Somebody of the team did this',
	idle: 'Nothing happened in it for its idle timeout',
	host_drain: 'Its host was drained',
	host_disconnected: 'Its host was disconnected',
	pause_all: 'All capsules were paused',
	admin: 'An administrator did this',
	vm_exited: 'Its machine ended by itself',
	host_deleted: 'Its host was deleted',
	team_deleted: 'Its team was deleted',
	account_deleted: 'The account was deleted',
	reconciled: 'Its host no longer had it',
	host_unreachable: 'Host unreachable; comes back by itself when the host does',
	reply_lost: 'The host did not answer; its state is being found out',
	create_failed: 'It could not be created',
	snapshot_lost: 'Its snapshot was lost'
};
