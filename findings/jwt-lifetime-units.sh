#!/usr/bin/env bash
# A token's life is given to two popular Node libraries under one name, `expiresIn`. We guessed seconds. fast-jwt counts milliseconds;
# jsonwebtoken counts seconds for a number and milliseconds for a string of digits, which every environment variable is. The tokens
# are signed without a word and are over when they are made.
. "$(dirname "$0")/lib.sh"
with_npm jsonwebtoken@9.0.3 fast-jwt@6.3.6
cat >life.mjs <<'JS'
import jsonwebtoken from "jsonwebtoken";
import fast from "fast-jwt";
const key = "k".repeat(32);
const life = (token) => { const { exp, iat } = JSON.parse(Buffer.from(token.split(".")[1], "base64url")); return exp - iat; };
console.log("jsonwebtoken 9.0.3, expiresIn 900:", life(jsonwebtoken.sign({}, key, { expiresIn: 900 })), "s");
console.log('jsonwebtoken 9.0.3, expiresIn "900":', life(jsonwebtoken.sign({}, key, { expiresIn: "900" })), "s");
console.log("fast-jwt 6.3.6, expiresIn 900:", life(fast.createSigner({ key, expiresIn: 900 })({})), "s");
JS
expect 'jsonwebtoken 9.0.3, expiresIn 900: 900 s
jsonwebtoken 9.0.3, expiresIn "900": 0 s
fast-jwt 6.3.6, expiresIn 900: 0 s' node life.mjs
