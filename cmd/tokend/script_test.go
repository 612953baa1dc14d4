package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain builds both commands once, as the test itself was built: with the race
// detector or without.
func TestMain(m *testing.M) { os.Exit(built(m)) }

func built(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tokend-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	args := []string{"build", "-o", dir + "/"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../tokend", "../tokenctl")...).CombinedOutput()
	if err == nil {
		err = os.Chmod(dir, 0o755) // for the scripts that run as somebody else
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "building the commands: %v\n%s", err, out)
		return 1
	}
	os.Setenv("TOKEND_TEST_BIN", dir)
	return m.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup:               setUp,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"api":    onStage((*stage).command),
			"put":    onStage((*stage).put),
			"start":  onStage((*stage).start),
			"tokend": onStage((*stage).tokend),
			"await":  onStage((*stage).await),
			"follow": onStage((*stage).follow),
			"signal": onStage((*stage).signal),
			"ended":  onStage((*stage).ended),
			"halt":   onStage((*stage).halt),
			"hide":   onStage((*stage).hide),
			"ask":    onStage((*stage).ask),
			"fetch":  onStage((*stage).fetch),
			"as":     onStage((*stage).as),
			"exits":  onStage((*stage).exits),
		},
	})
}

// setUp gives each script a house of its own: files, socket, store, and a stand-in
// for systemd.
func setUp(e *testscript.Env) error {
	s := newStage()
	e.Values["stage"] = s
	work := func(name string) string { return filepath.Join(e.WorkDir, name) }
	for name, value := range map[string]string{
		"PATH":               os.Getenv("TOKEND_TEST_BIN") + ":" + os.Getenv("PATH"),
		"HOME":               e.WorkDir,
		"GORACE":             "atexit_sleep_ms=0",
		"TOKEND_CREDENTIALS": work("credentials.toml"),
		"TOKEND_SOCKET":      work("s"),
		"TOKEND_STORE":       work("state/tokens.db"),
		"TOKEND_LOG_LEVEL":   "debug",
		"NOTIFY_SOCKET":      work("n"),
		"UID":                strconv.Itoa(os.Getuid()),
	} {
		e.Setenv(name, value)
	}
	e.Defer(s.close)
	// The directories above are closed to others, which is not what is tested.
	if err := errors.Join(os.Chmod(filepath.Dir(e.WorkDir), 0o755), os.Chmod(e.WorkDir, 0o755)); err != nil {
		return err
	}
	return s.hearNotifications(work("n"))
}

func condition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Geteuid() == 0, nil
	case "namespaces": // of mounts, in which /run can be made up
		return exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt").Run() == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// onStage is a command of the scripts that takes no "!".
func onStage(f func(*stage, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command takes no !")
		}
		f(ts.Value("stage").(*stage), ts, args)
	}
}

// need ends the script if an argument is missing.
func need(ts *testscript.TestScript, args []string, n int, usage string) {
	if len(args) < n {
		ts.Fatalf("usage: %s", usage)
	}
}

// put makes a file of mode 0600 from one of the script, with the variables of the
// environment filled in, in one step: put SOURCE FILE.
func (s *stage) put(ts *testscript.TestScript, args []string) {
	need(ts, args, 2, "put SOURCE FILE")
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	to := ts.MkAbs(args[1])
	ts.Check(os.WriteFile(to+".new", []byte(text), 0o600))
	ts.Check(os.Rename(to+".new", to))
}

// hide takes what a file holds, and what is like the pattern, for what must not be
// in the log, nor in what systemd was told: hide FILE, or hide -e PATTERN.
func (s *stage) hide(ts *testscript.TestScript, args []string) {
	need(ts, args, 1, "hide FILE | hide -e PATTERN")
	if args[0] == "-e" {
		s.secrets = append(s.secrets, args[1])
		return
	}
	text := strings.TrimSpace(ts.ReadFile(args[0]))
	if len(text) < 8 {
		ts.Fatalf("%s holds no secret: %q", args[0], text)
	}
	s.secrets = append(s.secrets, regexp.QuoteMeta(text))
}

// exits runs a command line and checks its exit code: exits CODE COMMAND [ARG…].
func (s *stage) exits(ts *testscript.TestScript, args []string) {
	need(ts, args, 2, "exits CODE COMMAND [ARG...]")
	err := ts.Exec(args[1], args[2:]...)
	if got := outcome(err); got != args[0] {
		ts.Fatalf("ended with %s, want %s", got, args[0])
	}
}

// as is exits under another uid, which is its gid too, with further groups after
// commas: as UID[,GID…] CODE COMMAND [ARG…].
func (s *stage) as(ts *testscript.TestScript, args []string) {
	need(ts, args, 3, "as UID[,GID...] CODE COMMAND [ARG...]")
	var ids []uint32
	for field := range strings.SplitSeq(args[0], ",") {
		n, err := strconv.ParseUint(field, 10, 32)
		ts.Check(err)
		ids = append(ids, uint32(n))
	}
	path, err := lookPath(args[2])
	ts.Check(err)
	cmd := &exec.Cmd{
		Path: path, Args: args[2:], Env: environment(ts), Dir: ts.MkAbs("."), Stdout: ts.Stdout(), Stderr: ts.Stderr(),
		SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ids[0], Gid: ids[0], Groups: ids[1:]}},
	}
	if got := outcome(cmd.Run()); got != args[1] {
		ts.Fatalf("ended with %s, want %s", got, args[1])
	}
}

// environment is the script's, as far as ours are concerned.
func environment(ts *testscript.TestScript) (pairs []string) {
	for _, name := range []string{
		"PATH", "HOME", "GORACE", "NOTIFY_SOCKET", "NO_COLOR", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY",
		"TOKEND_CREDENTIALS", "TOKEND_SOCKET", "TOKEND_STORE", "TOKEND_KEY_FILE", "TOKEND_LOG_LEVEL", "TOKEND_LOG_FORMAT", "TOKEND_METRICS_LISTEN",
		"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "PASSWORD",
	} {
		if value := ts.Getenv(name); value != "" {
			pairs = append(pairs, name+"="+value)
		}
	}
	return pairs
}

// outcome is how a command ended: its exit code, or the name of a signal.
func outcome(err error) string {
	if err == nil {
		return "0"
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err.Error()
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return status.Signal().String()
	}
	return strconv.Itoa(exit.ExitCode())
}
