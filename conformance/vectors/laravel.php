<?php
// Texts as Laravel's Crypt writes them, by PHP's openssl, hash_hmac and serialize: each cipher, encrypt() and encryptString().

$plaintexts = array_map(
    fn ($text) => $text === '1000' ? str_repeat('ñ0:', 333) . '.' : $text,
    json_decode(file_get_contents(__DIR__ . '/plaintexts.json')),
);

function crypt_text(string $text, string $key, string $cipher): string
{
    $gcm = str_ends_with($cipher, 'gcm');
    $iv = random_bytes(openssl_cipher_iv_length($cipher));
    $tag = '';
    // With options 0 PHP gives base64.
    $value = $gcm
        ? openssl_encrypt($text, $cipher, $key, 0, $iv, $tag)
        : openssl_encrypt($text, $cipher, $key, 0, $iv);
    $iv = base64_encode($iv);
    $mac = $gcm ? '' : hash_hmac('sha256', $iv . $value, $key);
    $json = json_encode(['iv' => $iv, 'value' => $value, 'mac' => $mac, 'tag' => base64_encode($tag)], JSON_UNESCAPED_SLASHES);
    return base64_encode($json);
}

$sets = [];
foreach (['aes-256-cbc' => 32, 'aes-256-gcm' => 32, 'aes-128-cbc' => 16, 'aes-128-gcm' => 16] as $cipher => $bytes) {
    foreach ([false, true] as $serialized) {
        $key = random_bytes($bytes);
        $text = fn ($plain) => crypt_text($serialized ? serialize($plain) : $plain, $key, $cipher);
        $sets[] = [
            'section' => ['format' => 'laravel', 'serialized' => $serialized],
            'cipher' => $cipher,
            'keys' => 'base64:' . base64_encode($key),
            'texts' => array_map(fn ($plain) => ['plain' => $plain, 'text' => $text($plain)], $plaintexts),
        ];
    }
}
echo json_encode(
    ['made_with' => 'PHP ' . PHP_VERSION . ' openssl, in the layout of Illuminate\Encryption\Encrypter', 'sets' => $sets],
    JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES,
), "\n";
