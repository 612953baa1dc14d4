package access

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestIDMap(t *testing.T) {
	const all = "         0          0 4294967295\n"
	tests := []struct {
		text string
		id   uint32
		want bool
	}{
		{all, 0, true},
		{all, 4294967294, true},
		{"0 0 65536\n", 65535, true},
		{"0 0 65536\n", 65536, false},
		{"0 1000 1\n65534 65534 1\n", 65534, true},
		{"0 1000 1\n65534 65534 1\n", 1000, false},
		{"10 0 5\n", 9, false},
		{"10 0 5\n", 14, true},
		{"10 0 5\n", 15, false},
		{"", 7, true},
		{"what\n", 7, true},
	}
	for _, tt := range tests {
		if got := parseIDMap(tt.text).has(tt.id); got != tt.want {
			t.Errorf("%q has %d: %v", tt.text, tt.id, got)
		}
	}
}

// TestRule_Unmapped asks in a user namespace such as PrivateUsers=identity makes.
func TestRule_Unmapped(t *testing.T) {
	const child = "TOKEND_TEST_UNMAPPED"
	texts := []string{"user:65535", "user:65536", "group:65535", "group:65536", "everyone", "unit:a.service"}
	if os.Getenv(child) != "" {
		t.Log("UNMAPPED " + strings.Join(withoutPlace(t, texts), " ") + ".")
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: needs root to make a user namespace of 65536 numbers")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRule_Unmapped$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	same := []syscall.SysProcIDMap{{Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: same, GidMappings: same}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "UNMAPPED user:65536 group:65536.\n") {
		t.Errorf("%v:\n%s", err, out)
	}
	if got := withoutPlace(t, texts); ownUIDs().has(1<<32-2) && len(got) > 0 {
		t.Errorf("unmapped here: %v", got)
	}
}

func withoutPlace(t *testing.T, texts []string) (said []string) {
	t.Helper()
	for _, text := range texts {
		r, err := new(Names).Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if r.Unmapped() {
			said = append(said, text)
		}
	}
	return said
}
