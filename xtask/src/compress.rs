//! Precompressed variants of a file, as strong as the formats go: they are made once and sent many times.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

pub fn brotli(data: &[u8]) -> Result<Vec<u8>> {
    let params =
        brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, size_hint: data.len(), ..Default::default() };
    let mut out = Vec::with_capacity(data.len() / 3);
    brotli::BrotliCompress(&mut &data[..], &mut out, &params)?;
    Ok(out)
}

pub fn gzip(data: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(data.len() / 3), Compression::best());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

/// Whether compressing gains anything: pictures, fonts and archives are compressed already.
pub fn is_worthwhile(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    ["css", "html", "ico", "js", "json", "svg", "txt", "wasm", "webmanifest", "xml"].contains(&extension)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn both_variants_give_the_original_back() {
        let data = b"still water runs deep, ".repeat(200);
        let mut unpacked = Vec::new();
        brotli::BrotliDecompress(&mut &brotli(&data).expect("writes to memory")[..], &mut unpacked).expect("valid");
        assert_eq!(unpacked, data);

        unpacked.clear();
        let packed = gzip(&data).expect("writes to memory");
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("valid");
        assert_eq!(unpacked, data);
        assert!(packed.len() < data.len() / 10);
    }
}
