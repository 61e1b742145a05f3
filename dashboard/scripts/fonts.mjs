// Copies the Latin and Latin-ext subsets of the two faces from their packages: the app loads nothing from elsewhere.
import { copyFileSync, mkdirSync } from 'node:fs';

const faces = ['inter', 'jetbrains-mono'];
const subsets = ['latin', 'latin-ext'];
mkdirSync('static/fonts', { recursive: true });
for (const face of faces) {
	for (const subset of subsets) {
		const file = `${face}-${subset}-wght-normal.woff2`;
		copyFileSync(`node_modules/@fontsource-variable/${face}/files/${file}`, `static/fonts/${file}`);
	}
}
