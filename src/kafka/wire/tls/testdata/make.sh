#!/bin/sh
# Makes the certificates and keys of the tests that rcgen cannot make, by OpenSSL 3. They serve nothing
# else, and are valid for a hundred years. The password is open-sesame.
set -eu
cd "$(dirname "$0")"
days=36500
pass=open-sesame
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

self_signed() { # name, then how its key is made
    name=$1
    shift
    openssl genpkey "$@" -out "$work/$name.key" 2>/dev/null
    openssl req -x509 -new -key "$work/$name.key" -subj "/CN=$name" -days $days -out "$work/$name.crt" \
        -addext subjectAltName=DNS:kafka
}

# Keys in all forms, each with a certificate.
self_signed rsa -algorithm RSA -pkeyopt rsa_keygen_bits:2048
self_signed ec -algorithm EC -pkeyopt ec_paramgen_curve:P-256
self_signed p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
self_signed ed25519 -algorithm ED25519
self_signed p521 -algorithm EC -pkeyopt ec_paramgen_curve:P-521
self_signed rsa1024 -algorithm RSA -pkeyopt rsa_keygen_bits:1024
for name in rsa ec p384 ed25519 p521 rsa1024; do
    cp "$work/$name.crt" "$name.crt"
    cp "$work/$name.key" "$name.key"
done
openssl rsa -in "$work/rsa.key" -traditional -out rsa-pkcs1.key 2>/dev/null
openssl rsa -in "$work/rsa.key" -traditional -aes256 -passout pass:$pass -out rsa-old.key 2>/dev/null
{
    openssl ecparam -name prime256v1
    openssl ec -in "$work/ec.key" 2>/dev/null
} >ec-sec1.key
openssl ec -in "$work/ec.key" -no_public -out "$work/bare.key" 2>/dev/null
cp "$work/bare.key" ec-sec1-bare.key
# OpenSSL puts the public key back into PKCS#8, so this one is put together: version, algorithm, and the
# key without it.
bare=$(grep -v -e ----- "$work/bare.key" | base64 -d | od -An -tx1 | tr -d ' \n')
scalar=$(printf %s "$bare" | cut -c 15-78)
{
    echo "-----BEGIN PRIVATE KEY-----"
    printf '3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420%s' "$scalar" |
        perl -ne 'print pack "H*", $_' | base64 -w 64
    echo "-----END PRIVATE KEY-----"
} >ec-bare.key
lock() { openssl pkcs8 -topk8 -in "$work/ec.key" -passout pass:$pass "$@"; }
lock -out ec-locked.key
lock -v2 aes-128-cbc -v2prf hmacWithSHA512 -iter 100000 -out ec-locked-most.key
lock -v2 aes-256-cbc -iter 100001 -out ec-locked-costly.key
lock -v2 des3 -v2prf hmacWithSHA1 -out ec-locked-des3.key
lock -scrypt -out ec-locked-scrypt.key
lock -scrypt -scrypt_N 16384 -scrypt_r 8 -scrypt_p 3 -out ec-locked-scrypt-costly.key
lock -v1 PBE-SHA1-3DES -out ec-locked-pbes1.key

# Certificates that a modern TLS library does not take, or that have no names.
issued() { # name, its issuer, digest, and more of openssl x509
    name=$1 issuer=$2 digest=$3
    shift 3
    openssl req -new -key "$work/ec.key" -subj "/CN=kafka" -out "$work/$name.csr"
    openssl x509 -req -in "$work/$name.csr" -CA "$work/$issuer.crt" -CAkey "$work/$issuer.key" \
        -days $days "-$digest" "$@" -out "$name.crt" 2>/dev/null
}
echo "subjectAltName=DNS:kafka" >"$work/san"
issued by-rsa1024 rsa1024 sha256 -extfile "$work/san"
issued by-sha1 rsa sha1 -extfile "$work/san"
issued by-p521 p521 sha512 -extfile "$work/san"
issued version1 rsa sha256
