// The create dialog's text: labels in, a command out, and what a refusal means.
import type { Failure } from '$lib/api/failure';
import type { CreateSandbox } from '$lib/api/types';

/** `key=value` words; a word without `=` is a key with an empty value. */
export function parseLabels(text: string): Record<string, string> {
	const labels: Record<string, string> = {};
	for (const word of text.split(/\s+/).filter(Boolean)) {
		const cut = word.indexOf('=');
		labels[cut < 0 ? word : word.slice(0, cut)] = cut < 0 ? '' : word.slice(cut + 1);
	}
	return labels;
}

export function asCurl(body: CreateSandbox, origin: string): string {
	// A quote inside single quotes: close, escape, open again.
	const json = JSON.stringify(body).replaceAll("'", "'\\''");
	return [
		`curl -X POST ${origin}/v1/sandboxes`,
		`-H "X-API-Key: $WRENN_API_KEY"`,
		`-H 'Content-Type: application/json'`,
		`-d '${json}'`
	].join(' \\\n  ');
}

export function refusal(failure: Failure): string {
	const { code, message, details } = failure;
	if (code === 'quota_exceeded' && details) {
		const { quota, limit, used, requested } = details;
		return `The team's limit ${quota} is ${limit}: ${used} in use, ${requested} asked for. Destroy capsules, or have an administrator raise it.`;
	}
	if (code === 'no_hosts_available') {
		return `No host has room for it (${message}). Try a smaller one, or add a host.`;
	}
	return message;
}
