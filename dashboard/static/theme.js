// Runs before the first paint, so that no page flashes in the other theme. A file, because the policy allows no inline script.
(() => {
	let theme = 'system';
	try {
		theme = localStorage.getItem('wrenn.theme') || 'system';
	} catch {
		// Storage is closed to this page: the system's choice stands.
	}
	if (theme === 'system')
		theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
	document.documentElement.dataset.theme = theme;
})();
