// @47ng/cloak, which prisma-field-encryption uses. The ring holds a newer key that made nothing: the fingerprint must choose.
import cloak from '@47ng/cloak'
import { plaintexts, print } from './plaintexts.mjs'

const [newer, key] = [cloak.generateKey(), cloak.generateKey()]
const texts = []
for (const plain of plaintexts) texts.push({ plain, text: await cloak.encryptString(plain, key) })
const bare = key.replace('k1.aesgcm256.', '')
print({
  made_with: '@47ng/cloak 1.2.0',
  sets: [
    { section: { format: 'cloak' }, keys: `${newer},${key}`, texts },
    { section: { format: 'cloak' }, keys: bare, texts },
  ],
})
