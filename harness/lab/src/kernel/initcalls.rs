//! Reads from a kernel image the order in which it runs its initcalls.

use std::collections::HashMap;
use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol};

use crate::failure::{Failure, Kind};

/// The names of the functions between `__initcall_start` and `__initcall_end`, in order: early ones, then levels 0
/// to 7 (INIT_CALLS in include/asm-generic/vmlinux.lds.h).
///
/// An entry is four bytes: the distance from it to its function (CONFIG_HAVE_ARCH_PREL32_RELOCATIONS).
///
/// # Errors
/// `Files` where the image cannot be read, or is none with symbols.
pub(crate) fn read(image: &Path) -> Result<Vec<String>, Failure> {
    let data = std::fs::read(image).map_err(|e| Failure::file("read", image, &e))?;
    table(&data).map_err(|seen| {
        let attempt = format!("read the initcalls of {}", image.display());
        Failure::new(Kind::Files, attempt, seen, "remove the kernel from the store: it is built again")
    })
}

/// The same for its bytes; else what is wrong with them.
pub(super) fn table(data: &[u8]) -> Result<Vec<String>, String> {
    const NO_TABLE: &str = "it has no table of initcalls";
    let file = object::File::parse(data).map_err(|e| e.to_string())?;
    let address = |name: &str| file.symbol_by_name(name).map(|symbol| symbol.address()).ok_or(NO_TABLE);
    let (start, end) = (address("__initcall_start")?, address("__initcall_end")?);
    let section = file
        .sections()
        .find(|section| section.address() <= start && start - section.address() < section.size())
        .ok_or(NO_TABLE)?;
    let functions: HashMap<u64, &str> = file
        .symbols()
        .filter(|symbol| symbol.kind() == object::SymbolKind::Text)
        .filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?)))
        .collect();
    let entries =
        section.data_range(start, end.saturating_sub(start)).map_err(|e| e.to_string())?.ok_or(NO_TABLE)?;
    let (entries, _) = entries.as_chunks::<4>();
    let name = |(place, entry): (u64, &[u8; 4])| {
        let function =
            start.wrapping_add(4 * place).wrapping_add_signed(i64::from(i32::from_le_bytes(*entry)));
        functions.get(&function).map_or_else(|| format!("{function:#x}"), |name| (*name).to_owned())
    };
    Ok((0..).zip(entries).map(name).collect())
}
