//! Rows of volumes, claims and storage classes.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, cells};
use crate::kinds::persistentvolumeclaims::class_of;
use crate::kinds::storageclasses::is_default;
use crate::kinds::text;
use crate::kinds::values::is_true;

const UNSET: &str = "<unset>";

const CLASS: Column = Column::text("StorageClass", "The class that the volume is of.");
const ATTRIBUTES: Column = Column::text("VolumeAttributesClass", "The class of changeable attributes.");
const MODE: Column = Column::wide("VolumeMode", "Whether it is a file system or a device.");

pub(crate) const VOLUME_COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Capacity", "The size."),
        Column::text("Access Modes", "By how many nodes or pods, and how, it can be mounted."),
        Column::text("Reclaim Policy", "What becomes of it when its claim has gone."),
        Column::text("Status", "Whether it is free, bound, or left by its claim."),
        Column::text("Claim", "The claim that it is bound or promised to."),
        CLASS,
        ATTRIBUTES,
        Column::text("Reason", "Why it is in a state that is not usual."),
        AGE,
        MODE,
    ],
    cells: |volume, now| {
        let claim = volume.pointer("/spec/claimRef").filter(|c| c.is_object()).map(|claim| {
            let part = |pointer: &str| text(claim, pointer).to_owned();
            format!("{}/{}", part("/namespace"), part("/name"))
        });
        vec![
            cells::name(volume),
            text(volume, "/spec/capacity/storage").into(),
            access_modes(volume, "/spec/accessModes").into(),
            text(volume, "/spec/persistentVolumeReclaimPolicy").into(),
            phase(volume).into(),
            claim.unwrap_or_default().into(),
            class_of(volume).unwrap_or("").into(),
            cells::text_or(volume, "/spec/volumeAttributesClassName", UNSET).into(),
            text(volume, "/status/reason").into(),
            cells::age(volume, now),
            cells::text_or(volume, "/spec/volumeMode", UNSET).into(),
        ]
    },
};

pub(crate) const CLAIM_COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Status", "Whether the claim has a volume."),
        Column::text("Volume", "The volume that it has."),
        Column::text("Capacity", "The size of the volume."),
        Column::text("Access Modes", "How the volume can be mounted."),
        CLASS,
        ATTRIBUTES,
        AGE,
        MODE,
    ],
    cells: |claim, now| {
        let bound = !text(claim, "/spec/volumeName").is_empty();
        let of_volume = |cell: String| if bound { cell } else { String::new() };
        vec![
            cells::name(claim),
            phase(claim).into(),
            text(claim, "/spec/volumeName").into(),
            of_volume(text(claim, "/status/capacity/storage").to_owned()).into(),
            of_volume(access_modes(claim, "/status/accessModes")).into(),
            class_of(claim).unwrap_or("").into(),
            cells::text_or(claim, "/spec/volumeAttributesClassName", UNSET).into(),
            cells::age(claim, now),
            cells::text_or(claim, "/spec/volumeMode", UNSET).into(),
        ]
    },
};

pub(crate) const CLASS_COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Provisioner", "Who makes volumes of the class."),
        Column::text("ReclaimPolicy", "What becomes of volumes of the class when their claims have gone."),
        Column::text(
            "VolumeBindingMode",
            "Whether a claim is bound at once or with the first pod that uses it.",
        ),
        Column { kind: "boolean", ..Column::text("AllowVolumeExpansion", "Whether volumes can grow.") },
        AGE,
    ],
    cells: |class, now| {
        let mark = if is_default(class) { " (default)" } else { "" };
        vec![
            format!("{}{mark}", text(class, "/metadata/name")).into(),
            text(class, "/provisioner").into(),
            cells::text_or(class, "/reclaimPolicy", "Delete").into(),
            cells::text_or(class, "/volumeBindingMode", UNSET).into(),
            is_true(class, "allowVolumeExpansion").into(),
            cells::age(class, now),
        ]
    },
};

fn phase(object: &Value) -> &str {
    if text(object, "/metadata/deletionTimestamp").is_empty() {
        text(object, "/status/phase")
    } else {
        "Terminating"
    }
}

/// In kubectl's short forms and its order.
fn access_modes(object: &Value, pointer: &str) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let given = cells::list(object, pointer);
    let has = |mode: &str| given.iter().any(|m| m == mode);
    SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}
