//! The images that the node's status shows. behaviour.md 32.10.

use k8s_openapi::api::core::v1::ContainerImage;

/// Names shown of one image.
const NAMES: usize = 5;

/// Largest first, at most `most` (-1 is all); of each its digests, then its tags.
#[must_use]
pub fn shown(images: &[cri_client::v1::Image], most: i32) -> Vec<ContainerImage> {
    let mut shown: Vec<ContainerImage> = images
        .iter()
        .map(|image| ContainerImage {
            names: Some(image.repo_digests.iter().chain(&image.repo_tags).take(NAMES).cloned().collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect();
    // The names settle what sizes leave open, so that the same images always give the same list.
    shown.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.names.cmp(&b.names)));
    shown.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    shown
}
