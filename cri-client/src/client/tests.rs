use prost::Message;

use super::*;

/// Whatever bytes a runtime sends: they are refused or checked, and nothing panics.
#[test]
fn no_answer_makes_the_client_panic() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes: &Vec<u8>| {
        if let Ok(status) = v1::ContainerStatus::decode(bytes.as_slice()) {
            let _ = check_container_status(&status);
        }
        if let Ok(status) = v1::PodSandboxStatus::decode(bytes.as_slice()) {
            let _ = check_sandbox_status(&status);
        }
    });
}

#[test]
fn a_status_in_a_state_that_does_not_exist_is_refused() {
    let metadata = Some(v1::ContainerMetadata::default());
    let status = v1::ContainerStatus { id: "a".into(), metadata, state: 9, ..Default::default() };
    assert_eq!(check_container_status(&status), Err("a container in an unknown state"));
}
