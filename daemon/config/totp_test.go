package config

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/providers"
)

// The keys of RFC 6238, appendix B, as corrected by erratum 2866.
const (
	key20 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	key32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA"
	key64 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA"
)

func TestTOTP(t *testing.T) {
	for _, tt := range []struct {
		key  string
		at   int64
		want string
	}{
		{"otpauth://totp/x?digits=8&secret=" + key20, 59, "94287082"},
		{"otpauth://totp/x?digits=8&secret=" + key20, 1111111109, "07081804"},
		{"otpauth://totp/x?digits=8&secret=" + key20, 1111111111, "14050471"},
		{"otpauth://totp/x?digits=8&secret=" + key20, 1234567890, "89005924"},
		{"otpauth://totp/x?digits=8&secret=" + key20, 2000000000, "69279037"},
		{"otpauth://totp/x?digits=8&secret=" + key20, 20000000000, "65353130"},
		{"otpauth://totp/x?digits=8&algorithm=SHA256&secret=" + key32, 59, "46119246"},
		{"otpauth://totp/x?digits=8&algorithm=sha256&secret=" + key32, 20000000000, "77737706"},
		{"otpauth://totp/x?digits=8&algorithm=SHA512&secret=" + key64, 59, "90693936"},
		{"otpauth://totp/x?digits=8&algorithm=SHA512&secret=" + key64, 20000000000, "47863826"},
		{"otpauth://totp/x?digits=8&period=60&secret=" + key20, 119, "94287082"},
		{"otpauth://totp/x?period=30&secret=" + strings.ToLower(key20), 59, "287082"},
		{key20, 59, "287082"},
		{key20[:16] + " " + key20[16:] + "\n", 30, "287082"},
		{"OTPAUTH://totp/Broker%20Inc:alice?issuer=Broker%20Inc&image=https%3A%2F%2Fx&secret=" + key20, 59, "287082"},
		{"otpauth://totp/x?secret=GEZD+GNBV+GY3TQOJQGEZDGNBVGY3TQOJQ", 59, "287082"}, // blanks
	} {
		key, err := parseTOTP(tt.key)
		if err != nil {
			t.Errorf("%s: %v", tt.key, err)
			continue
		}
		if code, err := new(codes).next(t.Context(), key, time.Unix(tt.at, 0)); code.Reveal() != tt.want || err != nil {
			t.Errorf("%s at %d: %q, %v, want %q", tt.key, tt.at, code.Reveal(), err, tt.want)
		}
	}
}

// testKey is one of the time's default.
func testKey(t *testing.T, text string) totpKey {
	t.Helper()
	key, err := parseTOTP(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestCodes_once: no code is given twice; who comes second waits for the next.
func TestCodes_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, other, c := testKey(t, key20), testKey(t, key32), new(codes)
		start := time.Now() // midnight, so at the beginning of a period
		var got sync.Map
		ask := func(key totpKey) {
			code, err := c.next(t.Context(), key, time.Now())
			if _, twice := got.LoadOrStore(code.Reveal(), time.Since(start)); twice || err != nil {
				t.Errorf("%q again, %v", code.Reveal(), err)
			}
		}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { ask(key) })
		}
		all.Go(func() { ask(other) })
		all.Wait()
		var waits []time.Duration
		got.Range(func(_, wait any) bool { waits = append(waits, wait.(time.Duration)); return true })
		slices.Sort(waits)
		if want := []time.Duration{0, 0, 30 * time.Second, time.Minute}; !slices.Equal(waits, want) {
			t.Errorf("they came after %v, want %v", waits, want)
		}
		time.Sleep(25 * time.Second) // of the bubble's own clock
		if ask(key); time.Since(start) != 90*time.Second {
			t.Errorf("late in a used period the next came after %v", time.Since(start))
		}
	})
}

// TestCodes_setBack: a clock that was wrong by hours is not waited for.
func TestCodes_setBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, c, start := testKey(t, key20), new(codes), time.Now()
		for _, at := range []time.Time{start.Add(time.Hour), start, start.Add(-time.Hour)} {
			if _, err := c.next(t.Context(), key, at); err != nil || time.Since(start) != 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
	})
}

func TestCodes_ended(t *testing.T) {
	key, c := testKey(t, key20), new(codes)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.next(ctx, key, at); err != nil {
		t.Fatal(err)
	}
	cancel()
	if code, err := c.next(ctx, key, at); !errors.Is(err, context.Canceled) || code != (providers.Secret{}) {
		t.Errorf("ended: %v", err)
	}
}

// FuzzTOTP: what is taken for a key gives codes, and what is not is not shown.
func FuzzTOTP(f *testing.F) {
	for _, text := range []string{
		key20, key32 + "====", "hush-1", "HUSH\r\nHUSH", "", "otpauth://totp/x?secret=" + key20, "otpauth://hotp/x?secret=" + key20 + "&counter=1",
		"otpauth://totp/x?secret=" + key64 + "&digits=8&period=60&algorithm=SHA512", "otpauth:?", "otpauth://totp/%zz", "otpauth-migration://x",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, text := range []string{marker + text, text + marker} {
			if _, err := parseTOTP(text); err != nil && strings.Contains(err.Error(), marker) {
				t.Errorf("shown: %v", err)
			}
		}
		key, err := parseTOTP(text)
		if err != nil {
			return
		}
		code, err := new(codes).next(t.Context(), key, at)
		if got := code.Reveal(); err != nil || len(got) != 6 && len(got) != 8 || strings.Trim(got, "0123456789") != "" {
			t.Errorf("%q, %v", got, err)
		}
		if again := testKey(t, key.secret.Reveal()); again.secret.Reveal() != key.secret.Reveal() {
			t.Errorf("%q is read in two ways", text)
		}
	})
}
