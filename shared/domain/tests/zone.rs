//! The bundled time zones count, whatever the machine has. These tests need files and a process of their own.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail by a panic")]

/// A zone file (RFC 8536) of an old database: UTC-08 all year.
fn old_zone_file() -> Vec<u8> {
    let mut block = b"TZif2".to_vec();
    block.extend([0; 15]);
    for count in [0u32, 0, 0, 0, 1, 4] {
        block.extend(count.to_be_bytes());
    }
    block.extend((-8 * 3_600i32).to_be_bytes());
    block.extend([0, 0]);
    block.extend(b"PST\0");
    [block.clone(), block, b"\nPST8\n".to_vec()].concat()
}

#[test]
fn british_columbia_stays_at_utc_minus_7() {
    // From 2026-03 on (tz 2026a). An older database says UTC-08 in November.
    let november: jiff::Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
    assert_eq!(domain::zone::find_zone("America/Vancouver").unwrap().to_offset(november), jiff::tz::offset(-7));
    // For the test below, which looks whether the machine's database is the old one.
    #[expect(clippy::disallowed_methods, reason = "this is what the machine says")]
    let machines = jiff::tz::TimeZone::get("America/Vancouver").unwrap();
    println!("the machine says {}", machines.to_offset(november));
}

#[test]
fn the_bundled_database_counts_whatever_the_machine_has() {
    let folder = std::env::temp_dir().join(format!("tocsin-old-tz-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("America")).unwrap();
    std::fs::write(folder.join("America/Vancouver"), old_zone_file()).unwrap();
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "british_columbia_stays_at_utc_minus_7", "--nocapture"]);
    let ended = again.env("TZDIR", &folder).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(said.contains("the machine says -08"), "the old database was not read: {said}");
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}
