// @vitest-environment node
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { generate, SCHEMA } from '../scripts/gen.mjs';

test('the wire types are those of the server’s document', async () => {
	expect(readFileSync(SCHEMA, 'utf8') === (await generate()), 'run `npm run gen`').toBe(true);
	// Generating takes a second, and many on a machine that is busy with other things.
}, 60_000);
