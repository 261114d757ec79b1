//! Compiles the project's own description of CRI, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/cri.proto");
    let descriptors = protox::compile(["proto/cri.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(std::env::var_os("CARGO_FEATURE_FAKE").is_some())
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
