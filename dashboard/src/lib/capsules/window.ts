// Which rows of a long list are in the document: those in view and ten on each side.
export const ROW_PX = 40;
export const OVERSCAN = 10;

export interface Slice {
	start: number;
	end: number;
	/** Space above and below the rows, px. */
	before: number;
	after: number;
}

export function slice(count: number, scrollTop: number, height: number): Slice {
	const first = Math.floor(Math.max(0, scrollTop) / ROW_PX);
	const inView = Math.ceil(height / ROW_PX) + 1;
	const start = Math.max(0, Math.min(first, count - inView) - OVERSCAN);
	const end = Math.min(count, first + inView + OVERSCAN);
	return { start, end, before: start * ROW_PX, after: (count - end) * ROW_PX };
}

/** Where to scroll so that a row is whole in view; the present place when it is. */
export function reveal(row: number, scrollTop: number, height: number): number {
	const top = row * ROW_PX;
	if (top < scrollTop) return top;
	return Math.max(scrollTop, top + ROW_PX - height);
}
