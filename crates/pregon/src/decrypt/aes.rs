//! AES-GCM and AES-CBC keys, and texts of a declared layout that they open.
//!
//! aws-lc opens everything except GCM with a 16-byte IV, which it offers no way to (`aes-gcm` does).

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U16;
use aes_gcm::{AesGcm, KeyInit, aes::Aes256};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::Refused;
use super::layout::{Layout, TAG};

/// A GCM key for IVs of one length.
pub(super) enum Gcm {
    Iv12(LessSafeKey),
    Iv16(Box<AesGcm<Aes256, U16>>),
}

impl Gcm {
    /// A key of 16 or 32 bytes for IVs of 12.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let algorithm = if key.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(Self::Iv12(LessSafeKey::new(key)))
    }

    /// A key of 32 bytes for IVs of 16.
    pub(super) fn long(key: &[u8]) -> Option<Self> {
        Some(Self::Iv16(Box::new(AesGcm::new_from_slice(key).ok()?)))
    }

    /// The plaintext, if the tag is right.
    pub(super) fn open(&self, iv: &[u8], aad: &[u8], data: &[u8], tag: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Iv12(key) => {
                let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
                let mut out = vec![0; data.len()];
                key.open_separate_gather(nonce, Aad::from(aad), data, tag, &mut out)
                    .ok()?;
                Some(out)
            }
            Self::Iv16(key) => {
                let (iv, tag) = (<[u8; 16]>::try_from(iv).ok()?, <[u8; TAG]>::try_from(tag).ok()?);
                let mut out = data.to_vec();
                key.decrypt_inout_detached(&Array(iv), aad, out.as_mut_slice().into(), &Array(tag))
                    .ok()?;
                Some(out)
            }
        }
    }
}

/// A CBC key with PKCS#7 padding.
pub(super) struct Cbc(PaddedBlockDecryptingKey);

impl Cbc {
    /// A key of 16 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
        let key = UnboundCipherKey::new(algorithm, key).ok()?;
        Some(Self(PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?))
    }

    /// What comes out if the padding is right. Says nothing of integrity.
    pub(super) fn open(&self, iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        let iv = FixedLength::from(<[u8; 16]>::try_from(iv).ok()?);
        let mut out = data.to_vec();
        let length = self.0.decrypt(&mut out, DecryptionContext::Iv128(iv)).ok()?.len();
        out.truncate(length);
        Some(out)
    }
}

/// The keys of a declared layout.
pub(super) enum Ring {
    Gcm(Vec<Gcm>),
    Cbc(Vec<Cbc>),
}

/// A format whose layout is declared.
pub(super) struct Declared {
    pub(super) layout: Layout,
    pub(super) ring: Ring,
}

impl Declared {
    pub(super) fn open(&self, text: &str, aad: &[u8]) -> Result<Vec<u8>, Refused> {
        let parts = self.layout.split(text)?;
        let opened = match &self.ring {
            Ring::Gcm(keys) => keys
                .iter()
                .find_map(|key| key.open(parts.iv(), aad, parts.data(), parts.tag())),
            Ring::Cbc(keys) => keys
                .iter()
                .find_map(|key| readable(key.open(parts.iv(), parts.data()))),
        };
        opened.ok_or(Refused::Sealed)
    }
}

/// Only what is UTF-8: the padding alone lets one of 256 wrong keys through.
pub(super) fn readable(bytes: Option<Vec<u8>>) -> Option<Vec<u8>> {
    bytes.filter(|bytes| std::str::from_utf8(bytes).is_ok())
}
