//! The pause program, and the builder of OCI images that packs it and whatever else a node needs without a registry.
//!
//! * [`PROGRAM`] is the program itself, compiled by this crate's build script for the target: static, without a C library.
//! * [`image::Image`] describes an image by its files; [`image::Image::archive`] writes it as an OCI archive that a runtime
//!   imports. The same description always gives the same bytes.
#![forbid(unsafe_code)]

pub mod image;

/// The pause program, an ELF file.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// What the pause image is called.
pub const IMAGE_NAME: &str = "nodelet.dev/pause:0.1";

/// The image that holds nothing but the pause program.
pub fn image() -> image::Image {
    image::Image::new(IMAGE_NAME)
        .file("pause", 0o755, PROGRAM.to_vec())
        .entrypoint(["/pause"])
        .user("65535:65535")
}

#[cfg(test)]
mod tests;
