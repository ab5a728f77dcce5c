//! Folders of runs, as they are left behind: of a real bench with a boot of each kernel, and of tests of each result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

/// The folder of a run.
pub(crate) struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    /// Of the bench whose boots are in `testcases/tests/real_boots`.
    pub(crate) fn of_a_bench() -> Result<Self, Failed> {
        let run = Self { folder: tempfile::tempdir()? };
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
        let real = workspace.join("testcases/tests/real_boots");
        fs::copy(real.join("verdict.json"), run.path().join("verdict.json"))?;
        for (kernel, boot, id) in [("without", "001-without", "1"), ("with", "002-with", "2")] {
            let to = run.path().join("boots").join(boot);
            fs::create_dir_all(&to)?;
            for name in ["guest.json", "kmsg.txt", "trace.txt", "kprobe_profile.txt"] {
                fs::copy(real.join(kernel).join(name), to.join(name))?;
            }
            run.keep(kernel, id)?;
        }
        Ok(run)
    }

    /// Of tests: one of each result, with names and reasons that every format has to escape.
    pub(crate) fn of_tests() -> Result<Self, Failed> {
        let run = Self { folder: tempfile::tempdir()? };
        fs::write(run.path().join("test.json"), include_str!("../../../harness/report/tests/tests.json"))?;
        run.keep("with", "2")?;
        Ok(run)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A kernel, as runs keep it.
    fn keep(&self, name: &str, id: &str) -> Result<(), Failed> {
        let folder = self.path().join("kernels").join(name);
        fs::create_dir_all(folder.join("patches"))?;
        let identity = format!(
            r#"{{"id": "{id}", "source": {{"name": "linux-source-6.1.tar.xz", "blake3": "c4edf2"}}, "patches": [],
                "config": [], "modules": [], "compiler": "gcc 12.2.0", "release": "6.1.192", "files": {{}}}}"#
        );
        fs::write(folder.join("kernel.json"), identity)?;
        fs::write(folder.join("config"), "CONFIG_NUMA=y\n")?;
        fs::write(folder.join("patches/0001-a.patch"), "</script><script>alert(1)</script>\n")?;
        Ok(())
    }

    /// Its report in a format, in a file of its folder.
    pub(crate) fn report(&self, format: &str) -> Result<PathBuf, Failed> {
        let to = self.path().join(format!("report.{format}"));
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        xtask.arg("report").arg(self.path()).args(["--format", format, "-o"]).arg(&to);
        crate::output(&mut xtask)?;
        Ok(to)
    }
}
