use flate2::{Compress, Compression, FlushCompress};

use super::*;

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What an implementation with a compressor writes.
fn compressed(deflate: &mut Compress, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend((text.len() as u32).to_be_bytes());
        plain.extend(text.as_bytes());
    }
    let mut block = Vec::with_capacity(plain.len() + 1024);
    deflate.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
    block
}

#[test]
fn the_dictionary_has_the_checksum_of_the_protocol() {
    let mut deflate = Compress::new(Compression::best(), true);
    let checksum = deflate.set_dictionary(&dictionary()).unwrap();
    assert_eq!(checksum.to_be_bytes(), DICTIONARY);
}

#[test]
fn blocks_are_read_in_their_order_by_any_decompressor() {
    let (mut writer, mut reader) = (Writer::default(), Reader::default());
    let long = "v".repeat(10_000);
    for headers in [
        &[("streamtype", "error")][..],
        &[],
        &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
        &[("long", long.as_str())],
    ] {
        assert_eq!(reader.block(&writer.block(headers)).unwrap(), owned(headers));
    }
}

#[test]
fn compressed_blocks_are_read_with_and_without_the_dictionary() {
    for with_dictionary in [true, false] {
        let mut deflate = Compress::new(Compression::best(), true);
        if with_dictionary {
            deflate.set_dictionary(&dictionary()).unwrap();
        }
        let mut reader = Reader::default();
        for headers in
            [&[("streamtype", "stdin")][..], &[], &[("streamtype", "stdout"), ("content-type", "text/plain")]]
        {
            assert_eq!(reader.block(&compressed(&mut deflate, headers)).unwrap(), owned(headers));
        }
    }
}

#[test]
fn a_block_that_grows_too_large_is_refused() {
    let mut deflate = Compress::new(Compression::best(), true);
    let long = "a".repeat(1 << 20);
    let block = {
        let mut plain = 1_u32.to_be_bytes().to_vec();
        plain.extend((long.len() as u32).to_be_bytes());
        plain.extend(long.as_bytes());
        let mut block = Vec::with_capacity(64 * 1024);
        deflate.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
        block
    };
    assert!(matches!(Reader::default().block(&block), Err(BlockError::TooLarge)), "{} bytes", block.len());
    assert!(matches!(Reader::default().block(&[0; 20_000]), Err(BlockError::TooLarge)));
}

#[test]
fn any_bytes_are_read_without_panic() {
    bolero::check!().with_type::<Vec<Vec<u8>>>().for_each(|blocks| {
        let mut reader = Reader::default();
        for block in blocks {
            let _ = reader.block(block);
        }
        // Behind a right beginning, which random bytes hardly have.
        let mut reader = Reader::default();
        assert!(reader.block(&Writer::default().block(&[("a", "b")])).is_ok());
        for block in blocks {
            let _ = reader.block(block);
        }
    });
}

#[test]
fn any_headers_that_are_written_are_read_back() {
    bolero::check!().with_type::<Vec<Vec<(String, String)>>>().for_each(|blocks| {
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        let fits = |headers: &&Vec<(String, String)>| {
            let length: usize = headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
            headers.len() <= 64 && length <= 16_000
        };
        for headers in blocks.iter().filter(fits) {
            let borrowed: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(&reader.block(&writer.block(&borrowed)).unwrap(), headers);
        }
    });
}
