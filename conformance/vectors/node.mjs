// AES-256-GCM and AES-256-CBC by node:crypto, in the layouts that applications write.
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { plaintexts, print } from './plaintexts.mjs'

function encrypt(cipher, key, ivLength, text, aad) {
  const iv = randomBytes(ivLength)
  const made = createCipheriv(cipher, key, iv)
  if (aad) made.setAAD(Buffer.from(aad))
  const data = Buffer.concat([made.update(text, 'utf8'), made.final()])
  return { iv, data, tag: cipher.endsWith('gcm') ? made.getAuthTag() : undefined }
}

function write({ layout, encoding, upper }, parts) {
  const separator = layout.replace(/iv|tag|data|\+/g, '').slice(0, layout.includes('--') ? 2 : 1)
  const pieces = separator ? layout.split(separator) : [layout]
  const texts = pieces.map(piece => Buffer.concat(piece.split('+').map(name => parts[name])).toString(encoding))
  return texts.map(text => (upper ? text.toUpperCase() : text)).join(separator)
}

// How the keys of a set are written, and the newest key's bytes.
const keys = {
  hex: () => { const key = randomBytes(32); return [key, key.toString('hex')] },
  HEX: () => { const key = randomBytes(32); return [key, key.toString('hex').toUpperCase()] },
  base64: () => { const key = randomBytes(32); return [key, key.toString('base64')] },
  utf8: () => { const text = randomBytes(16).toString('hex'); return [Buffer.from(text), text] },
  sha256: () => { const text = 'una frase: ¡dos!'; return [createHash('sha256').update(text).digest(), text] },
}

const wanted = [
  { format: 'aes-256-gcm', layout: 'iv:tag:data', encoding: 'hex', key: 'hex' },
  { format: 'aes-256-gcm', layout: 'iv:tag:data', encoding: 'hex', key: 'HEX', upper: true },
  { format: 'aes-256-gcm', layout: 'iv:tag:data', encoding: 'hex', iv: 16, key: 'hex' },
  { format: 'aes-256-gcm', layout: 'iv:data:tag', encoding: 'hex', key: 'utf8' },
  { format: 'aes-256-gcm', layout: 'iv:tag:data', encoding: 'base64', key: 'base64' },
  { format: 'aes-256-gcm', layout: 'iv.tag.data', encoding: 'base64url', key: 'sha256' },
  { format: 'aes-256-gcm', layout: 'iv+tag+data', encoding: 'base64', key: 'hex' },
  { format: 'aes-256-gcm', layout: 'iv+tag+data', encoding: 'base64', iv: 16, key: 'hex' },
  { format: 'aes-256-gcm', layout: 'iv+data+tag', encoding: 'hex', key: 'hex' },
  { format: 'aes-256-gcm', layout: 'data--iv--tag', encoding: 'base64', key: 'hex' },
  { format: 'aes-256-gcm', layout: 'iv|data+tag', encoding: 'base64', key: 'hex' },
  { format: 'aes-256-gcm', layout: 'iv:tag:data', encoding: 'hex', key: 'hex', aad: 'conversation:42' },
  { format: 'aes-256-gcm', layout: 'iv:tag:data', encoding: 'hex', iv: 16, key: 'hex', aad: 'conversation:42' },
  { format: 'aes-256-cbc', layout: 'iv:data', encoding: 'hex', key: 'hex' },
  { format: 'aes-256-cbc', layout: 'iv:data', encoding: 'base64', key: 'base64' },
  { format: 'aes-256-cbc', layout: 'iv+data', encoding: 'base64', key: 'sha256' },
  { format: 'aes-256-cbc', layout: 'data.iv', encoding: 'base64url', key: 'utf8' },
]

const sets = wanted.map(({ key, upper, aad, ...section }) => {
  const [bytes, text] = keys[key]()
  const ivLength = section.iv ?? (section.format === 'aes-256-gcm' ? 12 : 16)
  return {
    section: { ...section, key_encoding: key.toLowerCase(), ...(aad ? { aad: 'conversation:{conversation_id}' } : {}) },
    keys: text,
    aad,
    texts: plaintexts.map(plain => ({
      plain,
      text: write({ ...section, upper }, encrypt(section.format, bytes, ivLength, plain, aad)),
    })),
  }
})
print({ made_with: `node:crypto of Node ${process.version}`, sets })
