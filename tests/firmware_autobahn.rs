//! The same suite against two microcontrollers: the images of the firmware, in QEMU.

use core::time::Duration;

use motews_tests::firmware::{self, Board};

use super::{Cases, folder, test_server, test_server_with};

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_passes() {
    let folder = folder("firmware");
    let firmware = firmware::boot(Board::CortexM3, firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn firmware", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_on_riscv_passes() {
    let folder = folder("firmware-riscv");
    let firmware = firmware::boot(Board::RiscV32, firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn firmware on RISC-V", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_embassy_passes() {
    let folder = folder("embassy");
    let firmware = firmware::boot(Board::CortexM3, firmware::EMBASSY, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn embassy", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_with_compression_passes() {
    let folder = folder("firmware-compression");
    let firmware = firmware::boot(Board::CortexM3, firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    let title = "autobahn firmware, compressed";
    // An emulated processor takes its time.
    let limit = Duration::from_secs(2 * 3600);
    let cases = Cases {
        limit,
        ..Cases::compressed()
    };
    test_server_with(title, &url, &folder, &cases);
}
