// Light, dark, or as the system has it. The file theme.js applies the same choice before the first paint.
export type Theme = 'system' | 'light' | 'dark';
const KEY = 'wrenn.theme';

function stored(): Theme {
	try {
		const value = localStorage.getItem(KEY);
		return value === 'light' || value === 'dark' ? value : 'system';
	} catch {
		return 'system';
	}
}

class ThemeChoice {
	value = $state<Theme>(stored());

	choose(theme: Theme): void {
		this.value = theme;
		try {
			localStorage.setItem(KEY, theme);
		} catch {
			// Kept for this page only.
		}
		this.apply();
	}

	apply(): void {
		const dark = matchMedia('(prefers-color-scheme: dark)').matches;
		const shown = this.value === 'system' ? (dark ? 'dark' : 'light') : this.value;
		document.documentElement.dataset.theme = shown;
	}
}

export const theme = new ThemeChoice();
