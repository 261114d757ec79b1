//! `emptyDir`: a directory that lives as long as the pod (behaviour.md 20.14 to 20.17).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use podspec::Quantity;
use thiserror::Error;

/// What an empty directory is kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// The node's disk.
    Disk,
    /// Memory, of which it may take so many bytes; 0 where nothing limits it.
    Memory {
        /// Bytes.
        size: u64,
    },
    /// Huge pages of so many bytes.
    HugePages {
        /// Bytes.
        page: u64,
    },
}

/// Why a medium cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MediumError {
    /// There is no such medium.
    #[error("unknown storage medium {0:?}")]
    Unknown(String),
    /// The pod asks for huge pages of several sizes, and the medium does not say which it means.
    #[error("medium HugePages can't be used if container requests multiple huge page sizes")]
    SeveralSizes,
    /// The pod asks for no huge pages of that size.
    #[error("medium {0} can only be used if a container requests huge pages of its size")]
    NotRequested(String),
}

/// The medium that `source` asks for, in a pod on a node with so much memory to allocate.
///
/// # Errors
/// There is no such medium.
pub fn medium(
    source: &EmptyDirVolumeSource,
    pod: &Pod,
    allocatable_bytes: u64,
) -> Result<Medium, MediumError> {
    let name = source.medium.as_deref().unwrap_or_default();
    match name {
        "" => Ok(Medium::Disk),
        "Memory" => {
            let limit = source.size_limit.as_ref().and_then(|q| q.0.parse().ok());
            Ok(Medium::Memory { size: memory_size(pod, allocatable_bytes, limit) })
        }
        "HugePages" => {
            let pages = requested_pages(pod);
            match pages.into_iter().collect::<Vec<u64>>().as_slice() {
                [page] => Ok(Medium::HugePages { page: *page }),
                [] => Err(MediumError::NotRequested(name.to_owned())),
                _ => Err(MediumError::SeveralSizes),
            }
        }
        _ => {
            let size = name.strip_prefix("HugePages-").and_then(bytes);
            let page = size.ok_or_else(|| MediumError::Unknown(name.to_owned()))?;
            if requested_pages(pod).contains(&page) {
                Ok(Medium::HugePages { page })
            } else {
                Err(MediumError::NotRequested(name.to_owned()))
            }
        }
    }
}

/// The least of what the node can give, what the pod is limited to as a whole, and the volume's own limit.
pub fn memory_size(pod: &Pod, allocatable_bytes: u64, limit: Option<Quantity>) -> u64 {
    let of_pod = podspec::pod_limits(pod).get("memory").copied();
    let bytes = |q: Quantity| u64::try_from(q.value()).unwrap_or(0);
    [Some(allocatable_bytes), of_pod.map(bytes), limit.map(bytes)]
        .into_iter()
        .flatten()
        .filter(|size| *size > 0)
        .min()
        .unwrap_or(0)
}

fn bytes(text: &str) -> Option<u64> {
    let quantity: Quantity = text.parse().ok()?;
    u64::try_from(quantity.value()).ok().filter(|bytes| *bytes > 0)
}

fn requested_pages(pod: &Pod) -> BTreeSet<u64> {
    let requests = podspec::pod_requests(pod);
    requests.keys().filter_map(|name| bytes(name.strip_prefix("hugepages-")?)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(resources: &[Value]) -> Pod {
        let containers: Vec<Value> = resources.iter().map(|r| json!({"name": "c", "resources": r})).collect();
        serde_json::from_value(json!({"spec": {"containers": containers}})).expect("a pod")
    }

    fn source(value: Value) -> EmptyDirVolumeSource {
        serde_json::from_value(value).expect("a source")
    }

    #[test]
    fn row_20_15_memory_is_the_least_of_node_pod_and_volume() {
        let limited = json!({"limits": {"memory": "64Mi"}});
        let none = json!({});
        for (resources, limit, size) in [
            (vec![none.clone()], None, 1 << 30),
            (vec![none.clone()], Some("16Mi"), 16 << 20),
            (vec![none.clone()], Some("4Gi"), 1 << 30),
            (vec![none.clone()], Some("0"), 1 << 30),
            (vec![limited.clone()], None, 64 << 20),
            (vec![limited.clone(), limited.clone()], None, 128 << 20),
            (vec![limited.clone(), none], None, 1 << 30),
            (vec![limited], Some("16Mi"), 16 << 20),
        ] {
            let source = source(json!({"medium": "Memory", "sizeLimit": limit}));
            assert_eq!(medium(&source, &pod(&resources), 1 << 30), Ok(Medium::Memory { size }), "{limit:?}");
        }
    }

    #[test]
    fn row_20_16_huge_pages_are_of_the_size_that_the_pod_asks_for() {
        let of = |medium: &str| source(json!({"medium": medium}));
        let two = json!({"limits": {"hugepages-2Mi": "4Mi"}});
        let both = json!({"limits": {"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi"}});
        let pages = |page| Ok(Medium::HugePages { page });
        assert_eq!(medium(&of("HugePages"), &pod(std::slice::from_ref(&two)), 1), pages(2 << 20));
        assert_eq!(
            medium(&of("HugePages"), &pod(std::slice::from_ref(&both)), 1),
            Err(MediumError::SeveralSizes)
        );
        assert_eq!(medium(&of("HugePages-1Gi"), &pod(&[both]), 1), pages(1 << 30));
        assert!(medium(&of("HugePages-1Gi"), &pod(&[two]), 1).is_err());
        assert!(medium(&of("HugePages"), &pod(&[json!({})]), 1).is_err());
        assert_eq!(medium(&of("Paper"), &pod(&[]), 1), Err(MediumError::Unknown("Paper".to_owned())));
        assert_eq!(medium(&of(""), &pod(&[]), 1), Ok(Medium::Disk));
    }
}
