//! What a registry holds, read from OCI archives.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

/// Manifests by repository and tag or digest, and all blobs by digest.
#[derive(Debug, Default)]
pub(super) struct Content {
    manifests: BTreeMap<(String, String), Blob>,
    blobs: BTreeMap<String, Bytes>,
}

/// A document with its type.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) bytes: Bytes,
}

impl Content {
    /// Takes all of an archive in.
    pub(super) fn add(&mut self, name: &str, archive: &Path) -> Result<(), String> {
        let (repository, tag) = name.rsplit_once(':').ok_or("the name has no tag")?;
        let mut index = None;
        let mut tar = tar::Archive::new(File::open(archive).map_err(|e| e.to_string())?);
        for entry in tar.entries().map_err(|e| e.to_string())? {
            let mut entry = entry.map_err(|e| e.to_string())?;
            let path = entry.path().map_err(|e| e.to_string())?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            match path.strip_prefix("blobs/") {
                Some(blob) if !blob.ends_with('/') => {
                    self.blobs.insert(blob.replace('/', ":"), bytes.into());
                }
                _ if path == "index.json" => index = serde_json::from_slice::<Value>(&bytes).ok(),
                _ => {}
            }
        }
        let manifest = index.as_ref().and_then(|index| index["manifests"].get(0)).ok_or("no index")?;
        let text = |field: &str| manifest[field].as_str().unwrap_or_default().to_owned();
        let digest = text("digest");
        let bytes = self.blobs.get(&digest).cloned().ok_or("no manifest")?;
        let blob = Blob { media_type: text("mediaType"), digest: digest.clone(), bytes };
        for reference in [tag.to_owned(), digest] {
            self.manifests.insert((repository.to_owned(), reference), blob.clone());
        }
        Ok(())
    }

    /// By tag or digest.
    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<Blob> {
        self.manifests.get(&(repository.to_owned(), reference.to_owned())).cloned()
    }

    /// All repositories share them.
    pub(super) fn blob(&self, digest: &str) -> Option<Blob> {
        let bytes = self.blobs.get(digest)?.clone();
        Some(Blob { media_type: "application/octet-stream".to_owned(), digest: digest.to_owned(), bytes })
    }
}
