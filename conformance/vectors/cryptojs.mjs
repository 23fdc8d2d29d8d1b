// CryptoJS.AES with a passphrase.
import CryptoJS from 'crypto-js'
import { plaintexts, print } from './plaintexts.mjs'

const passphrase = 'clave secreta ñ 123'
const texts = plaintexts.map(plain => ({ plain, text: CryptoJS.AES.encrypt(plain, passphrase).toString() }))
print({ made_with: 'crypto-js 4.2.0', sets: [{ section: { format: 'cryptojs' }, keys: passphrase, texts }] })
