//! Reading blocks: what a server does, and here only the fake one is that.

use std::fmt::Write as _;

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

/// Bytes of a block at most, compressed.
const COMPRESSED: usize = 16 * 1024;
/// Bytes of a block at most.
const PLAIN: usize = 64 * 1024;
/// Headers of a block at most.
const HEADERS: usize = 64;

/// Names that SPDY/3's dictionary has, each after its length.
const NAMES: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age \
    allow authorization cache-control connection content-base content-encoding content-language content-length content-location \
    content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range \
    if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after \
    server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version \
    HTTP/1.1 url public set-cookie keep-alive origin";
/// What the dictionary has after them.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 \
    Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, \
    Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
    text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary that every block of SPDY/3 begins with in mind.
#[must_use]
pub fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::new();
    for name in NAMES.split(' ') {
        dictionary.extend_from_slice(&(name.len() as u32).to_be_bytes());
        dictionary.extend(name.bytes().map(|byte| if byte == b'_' { b' ' } else { byte }));
    }
    dictionary.extend_from_slice(REST.as_bytes());
    dictionary
}

/// Why bytes are no header block.
#[derive(Debug, Error)]
pub enum BlockError {
    /// More than a block may have.
    #[error("a header block is too large")]
    TooLarge,
    /// It cannot be decompressed.
    #[error("a header block cannot be decompressed: {0}")]
    Compression(String),
    /// Lengths do not fit what is there.
    #[error("a header block is cut short or no text")]
    Malformed,
}

/// Reads the blocks of one connection, in their order.
#[derive(Debug)]
pub struct Reader {
    inflate: Decompress,
    has_dictionary: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { inflate: Decompress::new(true), has_dictionary: false }
    }
}

impl Reader {
    /// Names and values of a block.
    ///
    /// # Errors
    /// See [`BlockError`]; no block after it can be read.
    pub fn block(&mut self, compressed: &[u8]) -> Result<Vec<(String, String)>, BlockError> {
        if compressed.len() > COMPRESSED {
            return Err(BlockError::TooLarge);
        }
        parse(&self.decompress(compressed)?).ok_or(BlockError::Malformed)
    }

    fn decompress(&mut self, mut compressed: &[u8]) -> Result<Vec<u8>, BlockError> {
        let mut plain = Vec::with_capacity(1024);
        while !compressed.is_empty() {
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(compressed, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX);
            compressed = compressed.get(taken..).unwrap_or_default();
            match status {
                Ok(Status::Ok) if taken > 0 || plain.len() == plain.capacity() => {}
                Ok(_) => break,
                Err(error) if error.needs_dictionary().is_some() && !self.has_dictionary => {
                    self.has_dictionary = true;
                    self.inflate.set_dictionary(&dictionary()).map_err(|error| failed(&error))?;
                }
                Err(error) => return Err(failed(&error)),
            }
            if plain.len() == plain.capacity() {
                if plain.len() >= PLAIN {
                    return Err(BlockError::TooLarge);
                }
                plain.reserve(plain.len());
            }
        }
        // What is still in the window of the decompressor.
        loop {
            if plain.len() == plain.capacity() {
                if plain.len() >= PLAIN {
                    return Err(BlockError::TooLarge);
                }
                plain.reserve(plain.len());
            }
            let before = plain.len();
            let status = self.inflate.decompress_vec(&[], &mut plain, FlushDecompress::Sync);
            if status.is_err() || plain.len() == before {
                return Ok(plain);
            }
        }
    }
}

fn failed(error: &flate2::DecompressError) -> BlockError {
    let mut text = String::new();
    let _ = write!(text, "{error}");
    BlockError::Compression(text)
}

fn parse(mut plain: &[u8]) -> Option<Vec<(String, String)>> {
    let count = usize::try_from(number(&mut plain)?).ok()?;
    if count > HEADERS {
        return None;
    }
    (0..count).map(|_| Some((text(&mut plain)?, text(&mut plain)?))).collect()
}

fn number(plain: &mut &[u8]) -> Option<u32> {
    let (number, rest) = plain.split_first_chunk::<4>()?;
    *plain = rest;
    Some(u32::from_be_bytes(*number))
}

fn text(plain: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(plain)?).ok()?;
    let (text, rest) = plain.split_at_checked(length)?;
    *plain = rest;
    String::from_utf8(text.to_vec()).ok()
}
