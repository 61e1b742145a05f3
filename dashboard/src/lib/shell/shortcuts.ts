// Single keys. They are silent while somebody types, and in dialogs.
import { PAGES } from './pages';

interface Acts {
	go: (path: string) => void;
	help: () => void;
}

/** `g` waits this long for its second key. */
export const SEQUENCE_MS = 1_500;

function isTyping(target: EventTarget | null): boolean {
	return (
		target instanceof Element &&
		target.closest('input, textarea, select, [contenteditable], [role="dialog"]') !== null
	);
}

/** Listens until the returned function is called. */
export function shortcuts({ go, help }: Acts): () => void {
	let before = '';
	let at = -Infinity;
	function press(event: KeyboardEvent) {
		if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
		const second = before === 'g' && event.timeStamp - at < SEQUENCE_MS;
		before = second ? '' : event.key;
		at = event.timeStamp;
		const page = second && PAGES.find(({ key }) => key === event.key);
		if (page) go(page.path);
		else if (second) return;
		else if (event.key === '?') help();
		else if (event.key === 'c') go('/dashboard/capsules/list?create=1');
		else if (event.key === '/') {
			const filter = document.querySelector<HTMLInputElement>('[data-filter]');
			if (!filter) return;
			filter.focus();
		} else return;
		event.preventDefault();
	}
	document.addEventListener('keydown', press);
	return () => document.removeEventListener('keydown', press);
}
