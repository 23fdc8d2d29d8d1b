#!/usr/bin/env bash
# Many applications write a user's number into `sub`. We guessed that a library which signs such a token also takes it. PyJWT and
# python-jose sign it and refuse their own token; jose (npm) refuses to sign; jsonwebtoken and fast-jwt sign and take it.
. "$(dirname "$0")/lib.sh"
with_npm jose@6.2.18 jsonwebtoken@9.0.3 fast-jwt@6.3.6
with_pip PyJWT==2.15.1 python-jose==3.5.0
cat >subject.py <<'PY'
import jwt
from jose import jwt as jose
key = "k" * 32
def said(action):
    try:
        return action()["sub"]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
print("PyJWT 2.15.1:", said(lambda: jwt.decode(jwt.encode({"sub": 7}, key, "HS256"), key, ["HS256"])))
print("python-jose 3.5.0:", said(lambda: jose.decode(jose.encode({"sub": 7}, key), key)))
PY
cat >subject.mjs <<'JS'
import * as jose from "jose";
import jsonwebtoken from "jsonwebtoken";
import fast from "fast-jwt";
const key = "k".repeat(32);
const said = async (action) => { try { return (await action()).sub; } catch (error) { return `${error.name}: ${error.message}`; } };
const signed = () => new jose.SignJWT({}).setSubject(7).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(key));
console.log("jose 6.2.18:", await said(signed));
console.log("jsonwebtoken 9.0.3:", await said(() => jsonwebtoken.verify(jsonwebtoken.sign({ sub: 7 }, key), key)));
console.log("fast-jwt 6.3.6:", await said(() => fast.createVerifier({ key })(fast.createSigner({ key })({ sub: 7 }))));
JS
expect 'PyJWT 2.15.1: InvalidSubjectError: Subject must be a string
python-jose 3.5.0: JWTClaimsError: Subject must be a string.' python subject.py
expect 'jose 6.2.18: TypeError: "sub" claim must be a string
jsonwebtoken 9.0.3: 7
fast-jwt 6.3.6: 7' node subject.mjs
