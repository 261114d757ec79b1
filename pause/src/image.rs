//! OCI images from a list of files.

use std::collections::BTreeSet;
use std::io::{self, Write};

use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, DescriptorBuilder, Digest, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, RootFsBuilder, Sha256Digest,
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Files larger than this do not belong into an image of this project.
const MAX_FILE_BYTES: usize = 512 * 1024 * 1024;

#[derive(Clone, Debug)]
enum Content {
    Directory,
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

/// An image: files, and how it is run.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    entries: Vec<(String, Content)>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    environment: Vec<String>,
    user: Option<String>,
}

/// Why an image cannot be written.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The path leads out of the image, or there is nothing in it.
    #[error("{path:?} is not a path within an image")]
    Path {
        /// As given.
        path: String,
    },
    /// Two entries have the same path.
    #[error("{path:?} is in the image twice")]
    Duplicate {
        /// As given.
        path: String,
    },
    /// The file is larger than an image may hold.
    #[error("{path:?} is larger than 512 MiB")]
    TooLarge {
        /// As given.
        path: String,
    },
    /// The documents that describe the image could not be made.
    #[error("describing image {name:?}")]
    Document {
        /// The image's name.
        name: String,
        /// What was wrong.
        source: oci_spec::OciSpecError,
    },
    /// The archive could not be written.
    #[error("writing image {name:?}")]
    Write {
        /// The image's name.
        name: String,
        /// What went wrong.
        source: io::Error,
    },
}

impl Image {
    /// An empty image of this name, tag included.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            entries: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            environment: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            user: None,
        }
    }

    /// The image's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With a file; `path` without a leading slash.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Self {
        self.entries.push((path.to_owned(), Content::File { mode, bytes }));
        self
    }

    /// With an empty directory, 0755.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Self {
        self.entries.push((path.to_owned(), Content::Directory));
        self
    }

    /// With a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.entries.push((path.to_owned(), Content::Link { target: target.to_owned() }));
        self
    }

    /// Run as this program.
    #[must_use]
    pub fn entrypoint<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.entrypoint = words.map(str::to_owned).to_vec();
        self
    }

    /// With these arguments where a container gives none.
    #[must_use]
    pub fn command<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.command = words.map(str::to_owned).to_vec();
        self
    }

    /// As this user, a name or `uid:gid`.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// The image as an OCI archive (a tar of an image layout).
    pub fn archive(&self) -> Result<Vec<u8>, ImageError> {
        let layer = self.layer()?;
        let document = |source| ImageError::Document { name: self.name.clone(), source };
        let config = self.config(&layer).map_err(document)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(MediaType::ImageConfig, &config).map_err(document)?)
            .layers(vec![descriptor(MediaType::ImageLayer, &layer).map_err(document)?])
            .build()
            .and_then(|m| canonical(&m))
            .map_err(document)?;
        let mut named = descriptor(MediaType::ImageManifest, &manifest).map_err(document)?;
        let tag = self.name.rsplit(':').next().unwrap_or_default().to_owned();
        named.set_annotations(Some(
            [
                ("io.containerd.image.name".to_owned(), self.name.clone()),
                ("org.opencontainers.image.ref.name".to_owned(), tag),
            ]
            .into(),
        ));
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![named])
            .build()
            .and_then(|i| canonical(&i))
            .map_err(document)?;
        let layout = OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()
            .and_then(|l| canonical(&l))
            .map_err(document)?;

        let mut archive = Archive::new(&self.name);
        archive.directory("blobs")?;
        archive.directory("blobs/sha256")?;
        for blob in [&config, &layer, &manifest] {
            archive.file(&format!("blobs/sha256/{}", hex(blob)), 0o644, blob)?;
        }
        archive.file("index.json", 0o644, &index)?;
        archive.file("oci-layout", 0o644, &layout)?;
        archive.finish()
    }

    fn config(&self, layer: &[u8]) -> Result<Vec<u8>, oci_spec::OciSpecError> {
        let mut run = ConfigBuilder::default().env(self.environment.clone());
        if !self.entrypoint.is_empty() {
            run = run.entrypoint(self.entrypoint.clone());
        }
        if !self.command.is_empty() {
            run = run.cmd(self.command.clone());
        }
        if let Some(user) = &self.user {
            run = run.user(user.clone());
        }
        let root = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(vec![format!("sha256:{}", hex(layer))])
            .build()?;
        let config = ImageConfigurationBuilder::default()
            .architecture(if cfg!(target_arch = "aarch64") { Arch::ARM64 } else { Arch::Amd64 })
            .os(Os::Linux)
            .config(run.build()?)
            .rootfs(root)
            .build()?;
        canonical(&config)
    }

    /// The files as a tar, sorted, with the directories that they need.
    fn layer(&self) -> Result<Vec<u8>, ImageError> {
        let mut entries: Vec<&(String, Content)> = self.entries.iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut archive = Archive::new(&self.name);
        for (path, content) in entries {
            check(path)?;
            for (at, _) in path.match_indices('/') {
                if made.insert(&path[..at]) {
                    archive.directory(&path[..at])?;
                }
            }
            if !made.insert(path) {
                if matches!(content, Content::Directory) {
                    continue;
                }
                return Err(ImageError::Duplicate { path: path.clone() });
            }
            match content {
                Content::Directory => archive.directory(path)?,
                Content::File { bytes, .. } if bytes.len() > MAX_FILE_BYTES => {
                    return Err(ImageError::TooLarge { path: path.clone() });
                }
                Content::File { mode, bytes } => archive.file(path, *mode, bytes)?,
                Content::Link { target } => archive.link(path, target)?,
            }
        }
        archive.finish()
    }
}

fn check(path: &str) -> Result<(), ImageError> {
    let wrong = path.is_empty()
        || path.starts_with('/')
        || path.contains('\0')
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if wrong { Err(ImageError::Path { path: path.to_owned() }) } else { Ok(()) }
}

/// A document with its keys in order: the types keep annotations in maps that have none.
fn canonical<T: serde::Serialize>(document: &T) -> Result<Vec<u8>, oci_spec::OciSpecError> {
    let tree = serde_json::to_value(document)?;
    Ok(serde_json::to_vec(&tree)?)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn descriptor(kind: MediaType, bytes: &[u8]) -> Result<Descriptor, oci_spec::OciSpecError> {
    let digest: Sha256Digest = hex(bytes).parse()?;
    DescriptorBuilder::default()
        .media_type(kind)
        .digest(Digest::from(digest))
        .size(bytes.len() as u64)
        .build()
}

/// A tar whose bytes depend on nothing but what is put in.
struct Archive<'a> {
    name: &'a str,
    tar: tar::Builder<Vec<u8>>,
}

impl<'a> Archive<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, tar: tar::Builder::new(Vec::new()) }
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    fn write(&self, outcome: io::Result<()>) -> Result<(), ImageError> {
        outcome.map_err(|source| ImageError::Write { name: self.name.to_owned(), source })
    }

    fn directory(&mut self, path: &str) -> Result<(), ImageError> {
        let mut header = Self::header(tar::EntryType::Directory, 0o755, 0);
        let outcome = self.tar.append_data(&mut header, format!("{path}/"), io::empty());
        self.write(outcome)
    }

    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), ImageError> {
        let mut header = Self::header(tar::EntryType::Regular, mode, bytes.len());
        let outcome = self.tar.append_data(&mut header, path, bytes);
        self.write(outcome)
    }

    fn link(&mut self, path: &str, target: &str) -> Result<(), ImageError> {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0);
        let outcome = self.tar.append_link(&mut header, path, target);
        self.write(outcome)
    }

    fn finish(self) -> Result<Vec<u8>, ImageError> {
        let name = self.name.to_owned();
        let outcome = self.tar.into_inner().and_then(|mut bytes| {
            bytes.flush()?;
            Ok(bytes)
        });
        outcome.map_err(|source| ImageError::Write { name, source })
    }
}

#[cfg(test)]
mod tests;
