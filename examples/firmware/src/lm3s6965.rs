//! The board: TI's LM3S6965 evaluation board, as QEMU runs it (`-machine lm3s6965evb`).
//!
//! A Cortex-M3 at 50 MHz with 256 KiB of flash, 64 KiB of RAM and an Ethernet MAC. This is the only
//! module that knows so, and it knows nothing of any network stack or executor. Another board needs
//! one with the same names: [`entry`], [`Board`] with its three parts, [`RxToken`] and [`TxToken`],
//! [`millis`], [`set_alarm`], [`sleep`], [`seed`] and [`exit`].
//!
//! Registers and their bits are named as in the data sheet.

use core::cell::Cell;
use core::ptr;
use core::task::Waker;

use cortex_m::Peripherals;
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::{NVIC, syst::SystClkSource};
use cortex_m_rt::{ExceptionFrame, exception};
use critical_section::Mutex;
use defmt_semihosting as _;
use semihosting::fs::File;
use semihosting::io::Read;
use static_cell::ConstStaticCell;

pub use cortex_m_rt::entry;

/// Cycles of the clock in a second.
const CLOCK_HZ: u32 = 50_000_000;

/// The parts of the board that the application uses.
#[derive(Debug)]
pub struct Board {
    /// The Ethernet MAC.
    pub ethernet: Ethernet,
    /// The chip's own temperature, measured at a steady rate.
    pub thermometer: Thermometer,
    /// The green LED, "status".
    pub led: Led,
}

impl Board {
    /// Starts the clock and the parts. `None` the second time, for there is one board; and where its
    /// crystal does not swing.
    #[must_use]
    pub fn take() -> Option<Self> {
        let mut core = Peripherals::take()?;
        if !run_at_50_mhz() {
            return None;
        }
        core.SYST.set_clock_source(SystClkSource::Core);
        core.SYST.set_reload(CLOCK_HZ / 1000 - 1);
        core.SYST.clear_current();
        core.SYST.enable_counter();
        core.SYST.enable_interrupt();

        // The clocks of the ADC, of timer 0, and of port F, the MAC and its PHY.
        modify(SYSCTL + RCGC0, |bits| bits | 1 << 16);
        modify(SYSCTL + RCGC1, |bits| bits | 1 << 16);
        modify(SYSCTL + RCGC2, |bits| bits | 1 << 5 | 1 << 28 | 1 << 30);
        Some(Self {
            ethernet: Ethernet::start(),
            thermometer: Thermometer::start(),
            led: Led::start(),
        })
    }
}

/// Takes the clock from the PLL, 200 MHz by four, behind the board's crystal of 8 MHz. Says whether it
/// has locked.
fn run_at_50_mhz() -> bool {
    modify(SYSCTL + RCC, |rcc| (rcc | BYPASS) & !USESYSDIV);
    modify(SYSCTL + RCC, |rcc| {
        (rcc & !(XTAL | OSCSRC | MOSCDIS | PWRDN)) | XTAL_8_MHZ
    });
    // It takes half a millisecond, at 12 MHz.
    if !(0..100_000).any(|_| read(SYSCTL + RIS) & PLLLRIS != 0) {
        return false;
    }
    modify(SYSCTL + RCC, |rcc| (rcc & !SYSDIV) | SYSDIV_4 | USESYSDIV);
    modify(SYSCTL + RCC, |rcc| rcc & !BYPASS);
    true
}

// ---- time ----

static MILLIS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));
static ALARM: Mutex<Cell<(u64, fn())>> = Mutex::new(Cell::new((u64::MAX, || {})));

#[exception]
fn SysTick() {
    let ring = critical_section::with(|cs| {
        let now = MILLIS.borrow(cs).get() + 1;
        MILLIS.borrow(cs).set(now);
        let (at, ring) = ALARM.borrow(cs).get();
        (at <= now).then(|| {
            ALARM.borrow(cs).set((u64::MAX, ring));
            ring
        })
    });
    if let Some(ring) = ring {
        ring();
    }
}

/// Milliseconds since the start.
#[must_use]
pub fn millis() -> u64 {
    critical_section::with(|cs| MILLIS.borrow(cs).get())
}

defmt::timestamp!("{=u64:ms}", millis());

/// Has `ring` called once, in an interrupt, as soon as [`millis`] is `at` or more. The latest call
/// is in force.
pub fn set_alarm(at: u64, ring: fn()) {
    critical_section::with(|cs| ALARM.borrow(cs).set((at, ring)));
}

/// Waits for the next interrupt: at most a millisecond, and not at all if a frame has come. Within a
/// critical section it is one that pends, and is handled after the section.
pub fn sleep() {
    critical_section::with(|_| {
        // The handler of the MAC's interrupt masks it; with a frame waiting it is pending at once,
        // and that ends the wait even while interrupts are disabled.
        write(EMAC + IM, RXINT);
        cortex_m::asm::wfi();
    });
}

/// The MAC's interrupt, the only one enabled: it ends [`sleep`], and wakes who waits for a frame.
#[exception]
unsafe fn DefaultHandler(_irq: i16) {
    write(EMAC + IM, 0);
    if let Some(waker) = critical_section::with(|cs| FRAME_WAKER.borrow(cs).take()) {
        waker.wake();
    }
}

// ---- Ethernet ----

/// The Ethernet MAC. Frames that have come wait in the MAC's own memory; here is room for the one that
/// is being read, and for the answer to it.
#[derive(Debug)]
pub struct Ethernet {
    received: &'static mut [u8; MAX_FRAME_LEN],
    sent: &'static mut [u8; MAX_FRAME_LEN],
}

/// Bytes of the longest frame, without its check sequence.
pub const MAX_FRAME_LEN: usize = 1514;
/// Bytes of a frame's check sequence.
const FCS_LEN: usize = 4;
/// Bytes of an Ethernet header, which the transmitter's length leaves out.
const HEADER_LEN: usize = 14;

/// Who waits for a frame.
static FRAME_WAKER: Mutex<Cell<Option<Waker>>> = Mutex::new(Cell::new(None));

impl Ethernet {
    fn start() -> Self {
        static FRAMES: ConstStaticCell<[[u8; MAX_FRAME_LEN]; 2]> =
            ConstStaticCell::new([[0; MAX_FRAME_LEN]; 2]);

        let [received, sent] = FRAMES.take();
        let ethernet = Self { received, sent };
        let [a, b, c, d, e, f] = ethernet.address();
        write(EMAC + IM, 0);
        write(EMAC + RCTL, RSTFIFO);
        write(EMAC + IA0, u32::from_le_bytes([a, b, c, d]));
        write(EMAC + IA1, u32::from_le_bytes([e, f, 0, 0]));
        write(EMAC + TCTL, DUPLEX | CRC | PADEN | TXEN);
        write(EMAC + RCTL, RXEN | BADCRC);
        // SAFETY: this interrupt's handler is ready for it, and no code relies on it being masked.
        unsafe { NVIC::unmask(EthernetInterrupt) };
        ethernet
    }

    /// The address that the board was given when it was made: it is in the user registers.
    #[must_use]
    pub fn address(&self) -> [u8; 6] {
        let [a, b, c, _] = read(SYSCTL + USER_REG0).to_le_bytes();
        let [d, e, f, _] = read(SYSCTL + USER_REG1).to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// A frame that has come, and room for an answer. `None`: no frame, or no room.
    pub fn receive(&mut self) -> Option<(RxToken<'_>, TxToken<'_>)> {
        (self.has_received() && self.is_transmitter_free())
            .then(|| (RxToken(self.received), TxToken(self.sent)))
    }

    /// Room for a frame to send. `None`: another one is still on its way.
    pub fn transmit(&mut self) -> Option<TxToken<'_>> {
        self.is_transmitter_free().then(|| TxToken(self.sent))
    }

    /// Whether a frame has come.
    #[must_use]
    pub fn has_received(&self) -> bool {
        read(EMAC + NP) & NPR != 0
    }

    /// Whether there is room for a frame to send. There soon is: a frame takes 120 microseconds.
    #[must_use]
    pub fn is_transmitter_free(&mut self) -> bool {
        read(EMAC + TR) & NEWTX == 0
    }

    /// Has `waker` woken, once, as soon as a frame has come; at once, if there is one. The latest
    /// call is in force.
    pub fn wake_on_frame(&mut self, waker: &Waker) {
        critical_section::with(|cs| FRAME_WAKER.borrow(cs).set(Some(waker.clone())));
        write(EMAC + IM, RXINT);
    }
}

/// A frame that has come.
#[derive(Debug)]
pub struct RxToken<'a>(&'a mut [u8; MAX_FRAME_LEN]);

impl RxToken<'_> {
    /// Takes the frame out of the MAC, for `f` to read.
    pub fn consume<T>(self, f: impl FnOnce(&mut [u8]) -> T) -> T {
        write(EMAC + IACK, RXINT);
        // The first word has the length of everything, itself included, and two bytes.
        let [low, high, first, second] = read(EMAC + DATA).to_le_bytes();
        let len = usize::from(u16::from_le_bytes([low, high])).saturating_sub(2 + FCS_LEN);
        if !(HEADER_LEN..=MAX_FRAME_LEN).contains(&len) {
            // No length: the MAC's memory has overflowed, and no one knows where a frame begins.
            write(EMAC + RCTL, RSTFIFO);
            write(EMAC + RCTL, RXEN | BADCRC);
            return f(&mut []);
        }
        let mut octets = self.0.iter_mut();
        let mut put = |from| _ = octets.next().map(|to| *to = from);
        [first, second].into_iter().for_each(&mut put);
        for _ in 0..(len - 2 + FCS_LEN).div_ceil(4) {
            let word = read(EMAC + DATA).to_le_bytes();
            word.into_iter().for_each(&mut put);
        }
        f(self.0.get_mut(..len).unwrap_or_default())
    }
}

/// Room for a frame to send.
#[derive(Debug)]
pub struct TxToken<'a>(&'a mut [u8; MAX_FRAME_LEN]);

impl TxToken<'_> {
    /// Sends the frame of `len` bytes that `f` writes. More than [`MAX_FRAME_LEN`] are not sent.
    pub fn consume<T>(self, len: usize, f: impl FnOnce(&mut [u8]) -> T) -> T {
        let Some(frame) = self.0.get_mut(..len) else {
            return f(&mut []);
        };
        let result = f(frame);
        let [low, high] = (len.saturating_sub(HEADER_LEN) as u16).to_le_bytes();
        let mut octets = frame.iter().copied();
        let mut next = || octets.next().unwrap_or_default();
        write(EMAC + DATA, u32::from_le_bytes([low, high, next(), next()]));
        for _ in 0..len.saturating_sub(2).div_ceil(4) {
            let word = [next(), next(), next(), next()];
            write(EMAC + DATA, u32::from_le_bytes(word));
        }
        write(EMAC + TR, NEWTX);
        result
    }
}

#[derive(Clone, Copy)]
struct EthernetInterrupt;

// SAFETY: 42 is the MAC's place in the chip's table of interrupts.
unsafe impl InterruptNumber for EthernetInterrupt {
    fn number(self) -> u16 {
        42
    }
}

// ---- thermometer ----

/// The temperature sensor inside the chip. Timer 0 has the ADC take a sample of it at a steady rate,
/// without the processor.
#[derive(Debug)]
pub struct Thermometer {
    rate: u32,
}

impl Thermometer {
    /// Samples in a second, at least and at most.
    pub const RATES: core::ops::RangeInclusive<u32> = 1..=50;

    fn start() -> Self {
        // Sequencer 3 takes one sample, of the sensor, when the timer says so.
        write(ADC0 + ADCACTSS, 0);
        write(ADC0 + ADCEMUX, EM3_TIMER);
        write(ADC0 + ADCSSCTL3, TS0 | IE0 | END0);
        write(ADC0 + ADCACTSS, ASEN3);
        let mut thermometer = Self { rate: 10 };
        thermometer.set_rate(thermometer.rate);
        thermometer
    }

    /// Samples in a second.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Has `rate` samples taken in a second, or as many as [`RATES`](Self::RATES) allows.
    pub fn set_rate(&mut self, rate: u32) {
        self.rate = rate.clamp(*Self::RATES.start(), *Self::RATES.end());
        write(TIMER0 + GPTMCTL, 0);
        write(TIMER0 + GPTMCFG, 0); // one timer of 32 bits
        write(TIMER0 + GPTMTAMR, PERIODIC);
        write(TIMER0 + GPTMTAILR, CLOCK_HZ / self.rate - 1);
        write(TIMER0 + GPTMCTL, TAOTE | TAEN);
    }

    /// The next sample, in thousandths of a degree Celsius. `None`: none has been taken yet.
    pub fn sample(&mut self) -> Option<i32> {
        if read(ADC0 + ADCRIS) & INR3 == 0 {
            return None;
        }
        write(ADC0 + ADCISC, INR3);
        let sample = read(ADC0 + ADCSSFIFO3) & 0x3ff;
        // The data sheet: 147.5 degrees less 225 times the fraction of full scale.
        Some(147_500 - (225_000 * sample / 1023) as i32)
    }
}

// ---- LED ----

/// The LED at PF0.
#[derive(Debug)]
pub struct Led(());

impl Led {
    fn start() -> Self {
        modify(GPIOF + GPIODIR, |bits| bits | PF0);
        modify(GPIOF + GPIODEN, |bits| bits | PF0);
        Self(())
    }

    /// Switches it.
    pub fn set(&mut self, on: bool) {
        write(GPIOF + (PF0 << 2), if on { PF0 } else { 0 });
    }

    /// Whether it is on, as the pin says.
    #[must_use]
    pub fn is_on(&self) -> bool {
        read(GPIOF + (PF0 << 2)) != 0
    }
}

// ---- what the chip has not ----

/// A seed for the random numbers that a client needs (RFC 6455 §10.3).
///
/// This chip has no source of them: its ADC under QEMU is a generator of few bits, and on the board a
/// thermometer. So the seed comes from the host, through the debugger's semihosting. A board in the
/// field has no host: give it a seed of its own in flash, and a count of its starts, or a chip with
/// a generator. `None`: there is no seed, and so no masking key and no client.
#[must_use]
pub fn seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    let mut file = File::open(c"/dev/urandom").ok()?;
    let read = file.read(&mut seed).ok()?;
    (read == seed.len()).then_some(seed)
}

/// A bug, or a stack that has met the static variables.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    defmt::error!("a fault at {=u32:#x}", frame.pc());
    exit(102)
}

/// Ends the emulation, with the operating system's exit code.
pub fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}

// ---- registers ----

const SYSCTL: u32 = 0x400f_e000;
const RIS: u32 = 0x50;
const PLLLRIS: u32 = 1 << 6;
const RCC: u32 = 0x60;
const MOSCDIS: u32 = 1 << 0;
const OSCSRC: u32 = 3 << 4;
const XTAL: u32 = 0xf << 6;
const XTAL_8_MHZ: u32 = 0xe << 6;
const BYPASS: u32 = 1 << 11;
const PWRDN: u32 = 1 << 13;
const USESYSDIV: u32 = 1 << 22;
const SYSDIV: u32 = 0xf << 23;
const SYSDIV_4: u32 = 3 << 23;
const RCGC0: u32 = 0x100;
const RCGC1: u32 = 0x104;
const RCGC2: u32 = 0x108;
const USER_REG0: u32 = 0x1e0;
const USER_REG1: u32 = 0x1e4;

const GPIOF: u32 = 0x4002_5000;
const GPIODIR: u32 = 0x400;
const GPIODEN: u32 = 0x51c;
const PF0: u32 = 1 << 0;

const TIMER0: u32 = 0x4003_0000;
const GPTMCFG: u32 = 0x00;
const GPTMTAMR: u32 = 0x04;
const PERIODIC: u32 = 2;
const GPTMCTL: u32 = 0x0c;
const TAEN: u32 = 1 << 0;
const TAOTE: u32 = 1 << 5;
const GPTMTAILR: u32 = 0x28;

const ADC0: u32 = 0x4003_8000;
const ADCACTSS: u32 = 0x00;
const ASEN3: u32 = 1 << 3;
const ADCRIS: u32 = 0x04;
const INR3: u32 = 1 << 3;
const ADCISC: u32 = 0x0c;
const ADCEMUX: u32 = 0x14;
const EM3_TIMER: u32 = 5 << 12;
const ADCSSCTL3: u32 = 0xa4;
const END0: u32 = 1 << 1;
const IE0: u32 = 1 << 2;
const TS0: u32 = 1 << 3;
const ADCSSFIFO3: u32 = 0xa8;

const EMAC: u32 = 0x4004_8000;
const IACK: u32 = 0x00;
const IM: u32 = 0x04;
const RXINT: u32 = 1 << 0;
const RCTL: u32 = 0x08;
const RXEN: u32 = 1 << 0;
const BADCRC: u32 = 1 << 3;
const RSTFIFO: u32 = 1 << 4;
const TCTL: u32 = 0x0c;
const TXEN: u32 = 1 << 0;
const PADEN: u32 = 1 << 1;
const CRC: u32 = 1 << 2;
const DUPLEX: u32 = 1 << 4;
const DATA: u32 = 0x10;
const IA0: u32 = 0x14;
const IA1: u32 = 0x18;
const NP: u32 = 0x34;
const NPR: u32 = 0x3f;
const TR: u32 = 0x38;
const NEWTX: u32 = 1 << 0;

fn read(register: u32) -> u32 {
    // SAFETY: callers are in this module and name registers of this chip, which are always there.
    unsafe { ptr::with_exposed_provenance::<u32>(register as usize).read_volatile() }
}

fn write(register: u32, bits: u32) {
    // SAFETY: as in `read`; no register here has the chip access memory.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(register as usize).write_volatile(bits) }
}

fn modify(register: u32, change: impl FnOnce(u32) -> u32) {
    write(register, change(read(register)));
}
