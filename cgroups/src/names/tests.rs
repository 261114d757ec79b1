use proptest::prelude::*;

use super::*;

const UID: &str = "6e03df48-7eab-45a0";

fn layout(driver: Driver, root: &str) -> Layout {
    Layout::new(driver, root).unwrap()
}

#[test]
fn row_21_1_a_pod_is_below_its_tier_in_either_drivers_way() {
    let paths = |driver, root| {
        let layout = layout(driver, root);
        Tier::ALL.map(|tier| layout.pod(tier, UID).unwrap().path())
    };
    assert_eq!(
        paths(Driver::Cgroupfs, "/"),
        [
            "/kubepods/pod6e03df48-7eab-45a0",
            "/kubepods/burstable/pod6e03df48-7eab-45a0",
            "/kubepods/besteffort/pod6e03df48-7eab-45a0",
        ]
    );
    assert_eq!(
        paths(Driver::Systemd, ""),
        [
            "/kubepods.slice/kubepods-pod6e03df48_7eab_45a0.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6e03df48_7eab_45a0.slice",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6e03df48_7eab_45a0.slice",
        ]
    );
}

#[test]
fn a_root_of_ones_own_is_above_the_top_and_its_dashes_are_no_levels() {
    assert_eq!(layout(Driver::Cgroupfs, "/a/my-pods").top().path(), "/a/my-pods/kubepods");
    for root in ["/a/my-pods", "/a.slice/a-my_pods.slice", "a-my_pods.slice"] {
        let top = layout(Driver::Systemd, root);
        assert_eq!(top.top().path(), "/a.slice/a-my_pods.slice/a-my_pods-kubepods.slice", "{root}");
        assert_eq!(top.top().unit().unwrap(), "a-my_pods-kubepods.slice", "{root}");
    }
}

#[test]
fn a_setting_names_a_slice_with_or_without_its_ending() {
    for text in ["/system", "/system.slice", "system.slice"] {
        let cgroup = Cgroup::parse(Driver::Systemd, text).unwrap();
        assert_eq!(
            (cgroup.path().as_str(), cgroup.unit().unwrap().as_str()),
            ("/system.slice", "system.slice")
        );
    }
    assert_eq!(Cgroup::parse(Driver::Cgroupfs, "/system.slice").unwrap().path(), "/system.slice");
    let root = Cgroup::parse(Driver::Systemd, "/").unwrap();
    assert_eq!(
        (root.unit().unwrap().as_str(), root.to_string().as_str(), root.parent()),
        ("-.slice", "/", None)
    );
}

#[test]
fn nothing_leads_out_of_the_hierarchy() {
    for uid in ["", "..", "../x", "a/b", "a_b", "a\0b", "a b", "ä", &"x".repeat(129)] {
        let refused = layout(Driver::Cgroupfs, "/").pod(Tier::Burstable, uid);
        // Dots alone are harmless behind "pod".
        assert_eq!(refused.is_err(), uid != "..", "{uid:?}");
    }
    for root in ["/..", "/a/../b", "/a/./b", "/a b", "/1/2/3/4/5/6/7/8/9"] {
        assert!(Layout::new(Driver::Cgroupfs, root).is_err(), "{root}");
    }
}

#[test]
fn directories_that_are_no_pods_are_not_taken_for_pods() {
    let plain = layout(Driver::Cgroupfs, "/");
    assert_eq!(plain.pod_uid(Tier::Guaranteed, "burstable"), None);
    assert_eq!(plain.pod_uid(Tier::Guaranteed, "pod"), None);
    assert_eq!(plain.pod_uid(Tier::Guaranteed, "poda-b").as_deref(), Some("a-b"));
    let systemd = layout(Driver::Systemd, "/");
    assert_eq!(systemd.pod_uid(Tier::Guaranteed, "kubepods-burstable.slice"), None);
    assert_eq!(systemd.pod_uid(Tier::Guaranteed, "kubepods-burstable-poda.slice"), None);
    assert_eq!(systemd.pod_uid(Tier::Burstable, "kubepods-burstable-poda_b.slice").as_deref(), Some("a-b"));
    assert_eq!(systemd.pod_uid(Tier::Burstable, "cri-containerd-abc.scope"), None);
}

proptest! {
    #[test]
    fn a_pods_directory_gives_its_uid_again(uid in "[a-z0-9.-]{1,40}", systemd: bool, tier in 0_usize..3) {
        let layout = layout(if systemd { Driver::Systemd } else { Driver::Cgroupfs }, "/x-y");
        let tier = Tier::ALL[tier];
        let cgroup = layout.pod(tier, &uid).unwrap();
        let name = cgroup.directories().last().unwrap();
        prop_assert_eq!(layout.pod_uid(tier, &name), Some(uid));
        prop_assert_eq!(cgroup.parent().unwrap(), layout.tier(tier));
    }
}

#[test]
fn any_name_of_a_directory_is_understood_or_left_alone() {
    bolero::check!().with_type::<(String, bool)>().for_each(|(name, systemd)| {
        let layout = layout(if *systemd { Driver::Systemd } else { Driver::Cgroupfs }, "/");
        for tier in Tier::ALL {
            if let Some(uid) = layout.pod_uid(tier, name) {
                assert!(layout.pod(tier, &uid).is_ok_and(|pod| pod.path().ends_with(name.as_str())));
            }
        }
        let _ = Cgroup::parse(Driver::Systemd, name);
    });
}
