package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReread(t *testing.T) {
	d := dir(t)
	c := find(t, load(t, loader(t, d, good)), "broker")
	secret := filepath.Join(d, "secret")
	if same, err := c.Reread(t.Context()); err != nil || same.Secrets != c.Secrets || same.Identity != c.Identity || !same.Read.After(c.Read) {
		t.Fatalf("nothing changed: %v, %+v", err, same)
	}
	write(t, secret, "hush-rotated\n")
	again, err := c.Reread(t.Context())
	if err != nil || again.Secrets == c.Secrets || again.Identity != c.Identity {
		t.Fatalf("a secret changed: %v, %+v", err, again)
	}
	if s := made(t, again.Provider); s.Secrets["password"].Reveal() != "hush-rotated" || s.Secrets["app_key"].Reveal() != "hush-other" || s.URL == "" {
		t.Errorf("it is made from %v", s)
	}
	if old := made(t, c.Provider); old.Secrets["password"].Reveal() != "hush-file" {
		t.Error("the old provider changed")
	}
	if err := os.Chmod(secret, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = c.Reread(t.Context())
	if want := "reading password from " + secret + ": it is open to everybody, gid "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("open to all: %v, want %s…", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Reread(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	text.WriteString("[defaults]\nallow = [\"user:0\"]\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "[credentials.c%d]\nprovider = \"simplejwt\"\nurl = \"https://h%d.example.com\"\nemail = \"a%d@example.com\"\npassword = \"hush-%d\"\noperate = [\"user:1\"]\n", i, i, i, i)
	}
	path := filepath.Join(b.TempDir(), "credentials.toml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	l := testLoader(path)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Load(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if parse(&report{data: []byte(text.String())}) == nil {
				b.Fatal("no tree")
			}
		}
	})
}
