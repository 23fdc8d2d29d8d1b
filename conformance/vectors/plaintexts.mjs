// The texts that every generator encrypts; "1000" stands for a text of a thousand characters.
import { readFileSync } from 'node:fs'

const texts = JSON.parse(readFileSync(new URL('./plaintexts.json', import.meta.url), 'utf8'))
export const plaintexts = texts.map(text => (text === '1000' ? 'ñ0:'.repeat(333) + '.' : text))
export const print = file => console.log(JSON.stringify(file, null, 1))
