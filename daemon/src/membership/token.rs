//! A bootstrap token: `abcdef.0123456789abcdef`, its public part and its secret.

use std::str::FromStr;

const ID: usize = 6;
const SECRET: usize = 16;

/// What is known of a cluster before its certificates are.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Names the token; no secret.
    pub(super) id: String,
    secret: String,
}

impl std::fmt::Debug for Token {
    /// The secret stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The text is no token. It does not stand in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token has the form abcdef.0123456789abcdef: six and sixteen small letters and digits")]
pub(super) struct TokenError;

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (id, secret) = text.split_once('.').ok_or(TokenError)?;
        let plain = |part: &str, length: usize| {
            part.len() == length
                && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if plain(id, ID) && plain(secret, SECRET) {
            Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
        } else {
            Err(TokenError)
        }
    }
}

impl Token {
    /// The key of signatures.
    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// All of it, as it is shown to the API server.
    pub(super) fn whole(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

#[cfg(test)]
mod tests;
