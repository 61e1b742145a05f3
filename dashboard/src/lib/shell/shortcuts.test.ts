import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { shortcuts } from './shortcuts';

const go = vi.fn();
const help = vi.fn();
let stop: () => void;
const press = (key: string, target: EventTarget = document.body) =>
	target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));

beforeEach(() => (stop = shortcuts({ go, help })));
afterEach(() => {
	stop();
	document.body.replaceChildren();
	vi.clearAllMocks();
});

test('two keys lead to a page, and the second one does nothing else', () => {
	press('g');
	press('c');
	expect(go.mock.calls).toEqual([['/dashboard/capsules/list']]);
});

test('a key that is being typed is text', () => {
	const input = document.body.appendChild(document.createElement('input'));
	press('c', input);
	press('?', input);
	expect(go).not.toHaveBeenCalled();
	expect(help).not.toHaveBeenCalled();
});

test('the question mark asks for help', () => {
	press('?');
	expect(help).toHaveBeenCalledOnce();
});
