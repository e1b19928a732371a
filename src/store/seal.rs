//! Secrets at rest: what reaches services and repositories is encrypted with the installation's key, which lies outside
//! the database (R8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, row};

const NONCE: usize = 24;

/// Seals with the current key; opens with that or an earlier one, so that keys can be rotated.
pub struct Sealer {
    current: XChaCha20Poly1305,
    earlier: Vec<XChaCha20Poly1305>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    pub fn new(current: &[u8; 32], earlier: &[[u8; 32]]) -> Self {
        Self {
            current: XChaCha20Poly1305::new(current.into()),
            earlier: earlier.iter().map(|key| XChaCha20Poly1305::new(key.into())).collect(),
        }
    }

    /// `context` says what the value is and whose: a sealed value that was moved to another row does not open.
    pub fn seal<T: Serialize>(&self, context: &str, value: &T) -> String {
        let nonce: [u8; NONCE] = rand::random();
        let text = row::to_json(value);
        let payload = Payload { msg: text.as_bytes(), aad: context.as_bytes() };
        let sealed =
            self.current.encrypt(XNonce::from_slice(&nonce), payload).expect("the text is far shorter than 256 GiB");
        BASE64.encode([nonce.as_slice(), &sealed].concat())
    }

    /// The same value under the current key.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when no key opens it, or it was sealed for another context.
    pub fn reseal(&self, context: &str, sealed: &str) -> Result<String, Error> {
        let value: serde_json::Value = self.open(context, sealed)?;
        Ok(self.seal(context, &value))
    }

    /// # Errors
    /// [`Error::WrongKey`] when no key opens it, or it was sealed for another context.
    pub fn open<T: DeserializeOwned>(&self, context: &str, sealed: &str) -> Result<T, Error> {
        let bytes = BASE64.decode(sealed).map_err(|_| Error::WrongKey)?;
        let (nonce, body) = bytes.split_at_checked(NONCE).ok_or(Error::WrongKey)?;
        let text = std::iter::once(&self.current)
            .chain(&self.earlier)
            .find_map(|key| {
                let payload = Payload { msg: body, aad: context.as_bytes() };
                key.decrypt(XNonce::from_slice(nonce), payload).ok()
            })
            .ok_or(Error::WrongKey)?;
        serde_json::from_slice(&text).map_err(Error::corrupt("sealed value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_in_its_place() {
        let sealer = Sealer::new(&[1; 32], &[]);
        let sealed = sealer.seal("project:demo", &"secret".to_owned());
        assert!(!sealed.contains("secret"));
        assert_eq!(sealer.open::<String>("project:demo", &sealed).expect("the same key"), "secret");
        assert!(matches!(sealer.open::<String>("project:other", &sealed), Err(Error::WrongKey)));
        assert!(matches!(Sealer::new(&[2; 32], &[]).open::<String>("project:demo", &sealed), Err(Error::WrongKey)));
        let rotated = Sealer::new(&[2; 32], &[[1; 32]]);
        assert_eq!(rotated.open::<String>("project:demo", &sealed).expect("an earlier key"), "secret");
    }

    #[test]
    fn rubbish_is_refused() {
        let sealer = Sealer::new(&[1; 32], &[]);
        for text in ["", "AAAA", "%%%", &BASE64.encode([0; 40])] {
            assert!(matches!(sealer.open::<String>("x", text), Err(Error::WrongKey)));
        }
    }
}
