//! The policy on real instance types, and rules that hold for all machines.

use proptest::prelude::*;

use super::*;
use crate::tuning::facts::{Cpus, Device, Instance, Interface, Kernel, Memory, Target};

const MIB: u64 = 1 << 20;

/// A machine with nine tenths of its memory available.
fn machine(name: Option<&str>, cpus: usize, memory_mib: u64) -> Facts {
    Facts {
        instance: name.map(|name| Instance { instance_type: Some(name.to_owned()), ..Instance::default() }),
        cpus: Cpus { usable: cpus, online: cpus, quota: None },
        memory: Memory { total: memory_mib * MIB, available: memory_mib * MIB / 10 * 9, limit: None },
        kernel: Kernel { release: "6.8.0".into(), privileged: true },
        target: None,
        described: None,
        interfaces: Vec::new(),
        notes: Vec::new(),
    }
}

fn of_type(name: &str) -> Facts {
    let it = instance_types::find(name).unwrap().instance_type().clone();
    machine(Some(name), it.vcpus as usize, it.memory_mib)
}

fn on(mut facts: Facts, kinds: &[DeviceKind]) -> Facts {
    let device =
        |(n, kind): (usize, &DeviceKind)| Device { name: format!("nvme{n}n1"), kind: kind.clone(), rotational: false };
    facts.target = Some(Target {
        path: "/mnt".into(),
        file_system: Some("btrfs".into()),
        mounted_at: Some("/mnt".into()),
        devices: kinds.iter().enumerate().map(device).collect(),
    });
    facts
}

fn decided(facts: &Facts) -> Tuning {
    decide(facts, &Given::default()).unwrap()
}

/// Type; baseline and peak Gbit/s of one card; workers and requests in flight: peak / 0.4 + workers, at least 16, as far as
/// half of the available memory reaches.
const TYPES: &[(&str, f64, f64, u16, u16)] = &[
    ("t1.micro", 0.07, 0.28, 1, 16),
    ("t2.micro", 0.064, 1.024, 1, 16),
    ("t3.nano", 0.032, 5.0, 2, 16),
    ("t3.medium", 0.256, 5.0, 2, 16),
    ("t4g.nano", 0.032, 5.0, 2, 16),
    ("t4g.micro", 0.064, 5.0, 2, 16),
    ("t4g.2xlarge", 2.048, 5.0, 8, 21),
    ("a1.large", 0.75, 10.0, 2, 27),
    ("m4.large", 0.45, 1.2, 2, 16),
    ("m5.large", 0.75, 10.0, 2, 27),
    ("m5.24xlarge", 25.0, 25.0, 96, 159),
    ("m5n.24xlarge", 100.0, 100.0, 96, 346),
    ("m6g.medium", 0.5, 10.0, 1, 26),
    ("m6i.32xlarge", 50.0, 50.0, 128, 253),
    ("m7g.4xlarge", 7.5, 15.0, 16, 54),
    ("m7i.large", 0.781, 12.5, 2, 34),
    ("m7i.2xlarge", 3.125, 12.5, 8, 40),
    ("m7i.48xlarge", 50.0, 50.0, 192, 317),
    ("m8g.xlarge", 1.875, 12.5, 4, 36),
    ("c5.xlarge", 1.25, 10.0, 4, 29),
    ("c5n.18xlarge", 100.0, 100.0, 72, 322),
    ("c6gn.16xlarge", 100.0, 100.0, 64, 314),
    ("c6in.32xlarge", 200.0, 200.0, 128, 628),
    ("c7g.medium", 0.52, 12.5, 1, 33),
    ("c7gn.medium", 3.125, 25.0, 1, 64),
    ("c7gn.16xlarge", 200.0, 200.0, 64, 564),
    ("c7gn.metal", 200.0, 200.0, 64, 564),
    ("c8gn.8xlarge", 100.0, 100.0, 32, 282),
    ("r5.large", 0.75, 10.0, 2, 27),
    ("r6in.2xlarge", 12.5, 40.0, 8, 108),
    ("r7iz.xlarge", 1.562, 12.5, 4, 36),
    ("r8g.large", 0.937, 12.5, 2, 34),
    ("r8g.48xlarge", 50.0, 50.0, 192, 317),
    ("x2idn.32xlarge", 100.0, 100.0, 128, 378),
    ("i3.large", 0.75, 10.0, 2, 27),
    ("i3en.24xlarge", 100.0, 100.0, 96, 346),
    ("i4i.large", 0.781, 10.0, 2, 27),
    ("i4i.8xlarge", 18.75, 18.75, 32, 79),
    ("i7ie.48xlarge", 100.0, 100.0, 192, 442),
    ("i8g.4xlarge", 9.375, 25.0, 16, 79),
    ("im4gn.16xlarge", 100.0, 100.0, 64, 314),
    ("is4gen.medium", 1.562, 25.0, 1, 64),
    ("d3.xlarge", 3.0, 15.0, 4, 42),
    ("g5.xlarge", 2.5, 10.0, 4, 29),
    ("g6e.48xlarge", 400.0, 400.0, 192, 1192),
    ("inf2.48xlarge", 100.0, 100.0, 192, 442),
    ("p4d.24xlarge", 100.0, 100.0, 96, 346),
    ("p5.48xlarge", 100.0, 100.0, 192, 442),
    ("trn1.32xlarge", 100.0, 100.0, 128, 378),
    ("hpc6a.48xlarge", 100.0, 100.0, 96, 346),
    ("hpc7g.16xlarge", 200.0, 200.0, 64, 564),
    ("hpc7a.96xlarge", 150.0, 150.0, 192, 567),
];

#[test]
fn real_instance_types() {
    let mut wrong = Vec::new();
    for &(name, baseline, peak, workers, in_flight) in TYPES {
        let tuning = decided(&of_type(name));
        let network = tuning.network.unwrap();
        let found = (
            network.value.baseline * 8.0 / 1e9,
            network.value.peak * 8.0 / 1e9,
            tuning.workers.value,
            tuning.in_flight.value,
        );
        if found != (baseline, peak, workers, in_flight) || network.origin != Origin::Detected {
            wrong.push(format!("(\"{name}\", {:?}, {:?}, {}, {}),", found.0, found.1, found.2, found.3));
        }
    }
    assert!(TYPES.len() >= 40 && wrong.is_empty(), "found instead:\n{}", wrong.join("\n"));
}

#[test]
fn a_machine_that_is_no_instance_gets_what_it_always_got() {
    for (cpus, memory) in [(1, 256), (2, 24_000), (64, 512_000)] {
        let tuning = decided(&machine(None, cpus, memory));
        assert_eq!((tuning.in_flight.value, tuning.in_flight.origin), (16, Origin::Default));
        assert_eq!(tuning.most_in_flight, None, "memory without a budget does not depend on what is tried");
        assert_eq!((tuning.workers.value, tuning.request_size_mib.value), (cpus as u16, 8));
        assert_eq!((tuning.memory_mib, tuning.network, tuning.disk), (None, None, None));
    }
    // Nor an instance that nothing is known of, or that must not be looked at; but memory is bounded where it can be.
    let tuning = decided(&machine(Some("zz9.huge"), 4, 8192));
    assert_eq!((tuning.in_flight.value, tuning.network), (16, None));
    assert_eq!(tuning.most_in_flight.unwrap().value, 64);
    let given = Given { memory_mib: Some((300, Origin::Flag)), ..Given::default() };
    let tuning = decide(&machine(Some("zz9.huge"), 4, 8192), &given).unwrap();
    assert_eq!(tuning.most_in_flight.unwrap().value, 27);
    let given = Given { in_flight: Some((4, Origin::Flag)), ..Given::default() };
    assert_eq!(decide(&machine(Some("zz9.huge"), 4, 8192), &given).unwrap().most_in_flight, None);
    assert_eq!(decided(&of_type("c7gn.16xlarge")).most_in_flight, None);
    let given = Given { detect: Some((false, Origin::Flag)), ..Given::default() };
    let tuning = decide(&of_type("c7gn.16xlarge"), &given).unwrap();
    assert_eq!((tuning.in_flight.value, tuning.in_flight.origin, tuning.network), (16, Origin::Default, None));
}

#[test]
fn what_is_given_wins() {
    let facts = of_type("m7i.large");
    let given = Given {
        workers: Some((7, Origin::Flag)),
        in_flight: Some((3, Origin::Environment)),
        request_size_mib: Some((64, Origin::ConfigFile)),
        ..Given::default()
    };
    let tuning = decide(&facts, &given).unwrap();
    assert_eq!((tuning.workers.value, tuning.workers.origin), (7, Origin::Flag));
    assert_eq!((tuning.in_flight.value, tuning.in_flight.origin), (3, Origin::Environment));
    assert_eq!((tuning.request_size_mib.value, tuning.request_size_mib.origin), (64, Origin::ConfigFile));
    // A detected budget gives way to a given number of requests; a given one does not.
    let many = Given { in_flight: Some((4096, Origin::Flag)), ..Given::default() };
    let tuning = decide(&facts, &many).unwrap();
    assert_eq!(tuning.in_flight.value, 4096);
    assert_eq!(tuning.memory_mib.unwrap().value, needed(4096, 8));
    let both = Given { memory_mib: Some((256, Origin::Flag)), ..many };
    assert_eq!(decide(&facts, &both).unwrap().in_flight.value, 22);
    let little = Given { memory_mib: Some((64, Origin::Flag)), ..Given::default() };
    assert_eq!(decide(&facts, &little).unwrap_err().kind(), Kind::Usage);
    // A speed that is given counts like one that was detected, also elsewhere than on EC2.
    let speed = Given { network_gbps: Some((25.0, Origin::ConfigFile)), ..Given::default() };
    assert_eq!(decide(&machine(None, 4, 8192), &speed).unwrap().in_flight.value, 63 + 4);
}

#[test]
fn newer_types_are_taken_for_their_relatives() {
    let tuning = decided(&machine(Some("m7i.3xlarge"), 12, 49_152));
    let network = tuning.network.unwrap();
    assert_eq!(network.value.peak, 12.5e9 / 8.0);
    assert!(network.reason.contains("taken for m7i.2xlarge"), "{}", network.reason);
}

#[test]
fn disks() {
    let ebs = || DeviceKind::Ebs(Some("vol-0123456789abcdef0".into()));
    // A volume of 125 MB/s, of which the instance's baseline gives 81.25 after half an hour.
    let tuning = decided(&on(of_type("m7i.large"), &[ebs()]));
    let disk = tuning.disk.unwrap().value;
    assert_eq!((disk.baseline, disk.peak), (81.25e6, 125e6));
    // 10 Gbit/s of EBS are less than 12.5 of network.
    assert_eq!(tuning.target_gbps.unwrap().value, 10.0);
    // Sixteen volumes give more than this instance may use.
    let disk = decided(&on(of_type("m5.large"), &vec![ebs(); 16])).disk.unwrap().value;
    assert_eq!((disk.baseline, disk.peak), (81.25e6, 593.75e6));
    assert_eq!(decided(&on(of_type("i4i.large"), &[DeviceKind::InstanceStore])).disk, None);
    assert_eq!(decided(&on(of_type("i4i.large"), &[ebs(), DeviceKind::InstanceStore])).disk, None);
    assert!(
        !advice(&on(of_type("i4i.large"), &[DeviceKind::InstanceStore]), &decided(&of_type("i4i.large"))).is_empty()
    );
    let given = Given { disk_mbps: Some((1000.0, Origin::Flag)), ..Given::default() };
    assert_eq!(decide(&on(of_type("m7i.large"), &[ebs()]), &given).unwrap().disk.unwrap().value.baseline, 1e9);
}

fn of_bytes(bytes: u64) -> Work {
    Work { archive_bytes: bytes, content_bytes: 2 * bytes, stored_bytes: bytes, entries: 1000, device: false }
}

#[test]
fn credits_last_for_small_archives() {
    let tuning = decided(&of_type("m7i.large"));
    let second = 12_500_000_000 / 8;
    let small = expect(&tuning, &of_bytes(10 * second));
    assert!((small.network_seconds.unwrap() - 10.0).abs() < 0.01, "{small:?}");
    // 300 s at the peak, the rest at 1/16 of it.
    let large = expect(&tuning, &of_bytes(400 * second));
    assert_eq!(large.bound, Some(Bound::Network));
    assert!((large.seconds - (300.0 + 100.0 * 12.5 / 0.781)).abs() < 0.1, "{large:?}");
}

#[test]
fn the_slowest_is_the_bound() {
    let on_ebs = decided(&on(of_type("m7i.large"), &[DeviceKind::Ebs(None)]));
    let expected = expect(&on_ebs, &of_bytes(1_250_000_000));
    assert_eq!(expected.bound, Some(Bound::Disk));
    assert!((expected.seconds - 10.0).abs() < 1e-6 && (expected.rate - 125e6).abs() < 1.0, "{expected:?}");
    let files = Work { entries: 10_000_000, ..of_bytes(1_250_000_000) };
    assert_eq!(expect(&on_ebs, &files).bound, Some(Bound::Cpu));
    assert!(expect(&on_ebs, &Work { device: true, ..files }).seconds < expect(&on_ebs, &files).seconds / 5.0);
    // Nothing is known: no bound.
    assert_eq!(expect(&decided(&machine(None, 2, 4096)), &files).bound, None);
    // Too few connections for the network.
    let few = Given { in_flight: Some((2, Origin::Flag)), ..Given::default() };
    let slow = expect(&decide(&of_type("c7gn.16xlarge"), &few).unwrap(), &of_bytes(1_000_000_000));
    assert!((slow.network_seconds.unwrap() - 8.0 / 1.4).abs() < 1e-6, "{slow:?}");
}

#[test]
fn estimates_are_like_the_measurements_they_are_from() {
    // README.md: wall seconds of three trees, mounted and on a device, with 2 CPUs.
    let measured =
        [(55_877, 1_250_000_000, 5.22, 1.11), (1, 2_147_483_648, 2.16, 1.62), (200_000, 808_000_000, 17.11, 2.18)];
    let tuning = decided(&machine(None, 2, 24_000));
    for (entries, content_bytes, mounted, device) in measured {
        for (on_device, seconds) in [(false, mounted), (true, device)] {
            let work = Work { entries, content_bytes, device: on_device, ..of_bytes(0) };
            let estimate = expect(&tuning, &work).cpu_seconds;
            assert!((0.3..1.3).contains(&(estimate / seconds)), "{entries} entries: {estimate} s, not {seconds}");
        }
    }
}

#[test]
fn memory_of_requests() {
    assert_eq!(fitting(256, 8).unwrap(), 22);
    assert_eq!(fitting(65, 8).unwrap(), 1);
    assert!(fitting(64, 8).is_err());
    assert!(fitting(0, 512).is_err());
    assert_eq!(fitting(u64::MAX / 8, 8).unwrap(), u16::MAX);
    assert_eq!(needed(1, 8), 65);
}

#[test]
fn several_network_cards() {
    let with = |cards: &[(&str, Option<u32>)]| {
        let mut facts = of_type("p5.48xlarge");
        let interface = |(name, card): &(&str, Option<u32>)| Interface {
            name: (*name).to_owned(),
            mac: String::new(),
            card: *card,
        };
        facts.interfaces = cards.iter().map(interface).collect();
        facts
    };
    let gbps = |tuning: &Tuning| tuning.network.as_ref().unwrap().value.peak * 8.0 / 1e9;
    let two = with(&[("a", Some(1)), ("b", Some(0)), ("c", Some(1)), ("d", None)]);
    let tuning = decided(&two);
    assert_eq!(tuning.interfaces.as_ref().unwrap().value, ["b", "a"]);
    assert_eq!((gbps(&tuning), tuning.in_flight.value), (200.0, 500 + 192));
    // Nobody said that these are on different cards.
    for one in [with(&[("a", None), ("b", None)]), with(&[("a", Some(0)), ("b", Some(0))]), with(&[("a", Some(3))])] {
        let tuning = decided(&one);
        assert_eq!((tuning.interfaces.is_none(), gbps(&tuning)), (true, 100.0));
    }
    let names = vec!["a".to_owned(), "c".to_owned()];
    let given = Given { network_interfaces: Some((names.clone(), Origin::Flag)), ..Given::default() };
    let tuning = decide(&two, &given).unwrap();
    assert_eq!((tuning.interfaces.unwrap().value, tuning.network.unwrap().value.peak), (names, 100e9 / 8.0));
    // More than the type has cannot be.
    let many: Vec<_> = (0..40).map(|n| ("x", Some(n))).collect();
    assert_eq!(gbps(&decided(&with(&many))), 3200.0);
}

#[test]
fn what_ec2_says_counts_more_than_the_table() {
    let mut facts = of_type("m7i.large");
    let mut it = instance_types::find("m7i.large").unwrap().instance_type().clone();
    it.network_peak_gbps = 20.0;
    facts.described = Some(it);
    let tuning = decided(&facts);
    assert_eq!(tuning.target_gbps.unwrap().value, 20.0);
    assert!(tuning.network.unwrap().reason.starts_with("m7i.large as EC2 describes it: 20 Gbit/s"));
}

proptest! {
    #[test]
    fn never_nothing_and_never_more_than_the_memory(
        name in prop::sample::select(instance_types::all().map(|it| it.name).collect::<Vec<_>>()),
        cpus in 1_usize..256,
        total in 128_u64..4_000_000,
        free in 0.0..1.0_f64,
        memory in prop::option::of(65_u64..1_000_000),
    ) {
        let mut facts = machine(Some(&name), cpus, total);
        facts.memory.available = (facts.memory.total as f64 * free) as u64;
        let given = Given { memory_mib: memory.map(|mib| (mib, Origin::Flag)), ..Given::default() };
        let tuning = decide(&facts, &given).unwrap();
        let budget = tuning.memory_mib.as_ref().unwrap().value;
        prop_assert!(tuning.in_flight.value >= 1 && tuning.in_flight.value <= 4096);
        prop_assert!(needed(tuning.in_flight.value, 8) <= budget, "{tuning:?}");
        prop_assert!(budget <= memory.unwrap_or((facts.memory.available >> 21).max(needed(1, 8))));
        prop_assert!(tuning.workers.value >= 1 && usize::from(tuning.workers.value) <= cpus);
        for reason in [&tuning.in_flight.reason, &tuning.workers.reason, &tuning.memory_mib.unwrap().reason] {
            prop_assert!(!reason.is_empty());
        }
    }

    #[test]
    fn more_bandwidth_is_never_worse(
        gbps in 0.001..400.0_f64,
        more in 1.0..10.0_f64,
        cpus in 1_usize..256,
        memory in 256_u64..4_000_000,
        bytes in 0_u64..1 << 50,
        disk in 1.0..10_000.0_f64,
    ) {
        let facts = machine(None, cpus, memory);
        let with = |gbps, disk| decide(&facts, &Given {
            network_gbps: Some((gbps, Origin::Flag)),
            disk_mbps: Some((disk, Origin::Flag)),
            ..Given::default()
        }).unwrap();
        let (slow, fast, both) = (with(gbps, disk), with(gbps * more, disk), with(gbps * more, disk * more));
        prop_assert!(slow.in_flight.value <= fast.in_flight.value);
        prop_assert!(fast.in_flight.value <= both.in_flight.value);
        let seconds = |tuning| expect(tuning, &of_bytes(bytes)).seconds;
        prop_assert!(seconds(&slow) >= seconds(&fast) && seconds(&fast) >= seconds(&both));
        prop_assert!(seconds(&both).is_finite());
    }

    #[test]
    fn more_bytes_take_longer(
        baseline in 1e3..1e11_f64, burst in 1.0..20.0_f64, bytes in 0_u64..1 << 60, more in 0_u64..1 << 40,
    ) {
        let speed = Speed { baseline, peak: baseline * burst, peak_seconds: 300.0 };
        prop_assert!(speed.seconds(bytes) <= speed.seconds(bytes + more));
        prop_assert!(speed.seconds(bytes) >= bytes as f64 / speed.peak * 0.999_999);
    }
}
