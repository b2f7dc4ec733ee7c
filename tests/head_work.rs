//! HC25, HS21: reading a head takes work in proportion to its length, in each adapter and each role:
//! instructions are counted, which is the same on a busy machine.

use std::process::Command;

/// How much a byte of a long head may take, as a multiple of a byte of ten lines.
const TOLERANCE: f64 = 1.3;

/// Reads so many heads under callgrind: the instructions of all, and the bytes of one.
fn count(adapter: &str, role: &str, times: u32, shape: &str, size: u32) -> (f64, f64) {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env!("CARGO_BIN_EXE_head_work"))
        .args([adapter, role, &times.to_string(), shape, &size.to_string()])
        .output()
        .expect("valgrind is installed: .ci/install does it");
    let [said, counted] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{said}{counted}");
    let number = |text: &str| text.trim().parse().expect("a number");
    let counted = counted.split("Collected :").nth(1).expect("a count");
    (
        number(counted.lines().next().unwrap_or_default()),
        number(&said),
    )
}

/// The instructions of one head, without those of the program around it, and its bytes.
fn of_one(adapter: &str, role: &str, times: u32, shape: &str, size: u32) -> (f64, f64) {
    let (more, bytes) = count(adapter, role, 1 + times, shape, size);
    let (one, _) = count(adapter, role, 1, shape, size);
    ((more - one) / f64::from(times), bytes)
}

#[test]
#[ignore = "needs valgrind, and takes two minutes"]
fn reading_4000_lines_or_2_mib_in_one_takes_no_more_for_a_byte_than_10_lines() {
    println!("| | 10 lines | 4,000 lines, one a segment | 2 MiB in one line |");
    println!("|---|--:|--:|--:|");
    let mut wrong = Vec::new();
    for (adapter, role) in [
        ("core", "server"),
        ("core", "client"),
        ("embedded-io", "server"),
        ("embedded-io", "client"),
        ("smoltcp", "server"),
        ("smoltcp", "client"),
        ("std-blocking", "server"),
        ("std-blocking", "client"),
        ("std-server", "server"),
    ] {
        let (least, without) = of_one(adapter, role, 100, "lines", 0);
        let per_byte = |times, shape, size| {
            let (instructions, bytes) = of_one(adapter, role, times, shape, size);
            (instructions - least) / (bytes - without)
        };
        let few = per_byte(100, "lines", 10);
        let many = per_byte(1, "lines", 4000);
        let long = per_byte(1, "line", 2 << 20);
        println!("| {adapter}, {role} | {few:.1} | {many:.1} | {long:.1} |");
        if many.max(long) > TOLERANCE * few {
            wrong.push((adapter, role));
        }
    }
    assert!(
        wrong.is_empty(),
        "more work for a byte of a longer head: {wrong:?}"
    );
}
