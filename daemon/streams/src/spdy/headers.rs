//! Header blocks: how many, then length and bytes of each name and value, all in one zlib stream a connection and direction.

/// The checksum of SPDY/3's dictionary, which a stream that uses it names.
const DICTIONARY: [u8; 4] = [0xe3, 0xc6, 0xa7, 0xc2];
/// Bytes of a stored block at most.
const STORED: usize = 0xffff;

/// Writes the blocks of one connection, in their order.
#[derive(Debug, Default)]
pub struct Writer {
    has_begun: bool,
}

impl Writer {
    /// A block of these headers. Names are lower case.
    pub fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = Vec::new();
        let length = |plain: &mut Vec<u8>, length: usize| {
            plain.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        };
        length(&mut plain, headers.len());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            length(&mut plain, text.len());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 16);
        if !std::mem::replace(&mut self.has_begun, true) {
            // Deflate with a window of 32 KiB and a dictionary.
            block.extend_from_slice(&[0x78, 0xbb]);
            block.extend_from_slice(&DICTIONARY);
        }
        for stored in plain.chunks(STORED) {
            append(&mut block, stored);
        }
        // Readers give out what they have at an empty block: it is what a flush ends with.
        append(&mut block, &[]);
        block
    }
}

/// One stored block, not the last.
fn append(to: &mut Vec<u8>, stored: &[u8]) {
    let length = stored.len() as u16;
    to.push(0);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&(!length).to_le_bytes());
    to.extend_from_slice(stored);
}

#[cfg(any(test, feature = "fake"))]
mod read;
#[cfg(any(test, feature = "fake"))]
pub use self::read::{BlockError, Reader, dictionary};

#[cfg(test)]
mod tests;
