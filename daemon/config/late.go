package config

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/tokend-project/tokend/providers"
)

// late is the value of a key that is got when a login needs it, and not before.
// Whatever can be wrong with it by then is looked for when the file is read.
type late struct {
	source
	totp bool // the source gives the key that codes are made from
	*bench
	uid  uint32
	gids []uint32
}

// bench is what the sources of a Loader's credentials share.
type bench struct {
	commands commands
	codes    codes
	memory   memory
}

func newBench() *bench {
	return &bench{commands: commands{slots: make(chan struct{}, commandsAtOnce), limit: commandTime}}
}

// late reads the value of a late key.
func (c *checker) late(d *draft, key, at string, n *node) {
	l := &late{bench: c.bench, uid: d.uid, gids: d.gids}
	s, ok := c.locate(at, n)
	if ok && s.kind == fromTOTP {
		l.totp = true
		if s, ok = c.locate(s.at, s.node); ok && s.kind == fromTOTP {
			c.problem(s.node.off, s.at, "the key of a totp is a string or comes from another source")
			ok = false
		}
	}
	if !ok {
		return
	}
	l.source = s.source
	mark, ok := c.tryLate(s, l)
	if !ok {
		return
	}
	d.request.Late[key], d.marks[key] = l.get, mark
	if l.totp && s.kind != fromCommand { // which is run each time
		d.watched(key, s.source)
	}
}

// tryLate finds out whether the source will have something to give, as far as that
// can be told without running it. mark is what makes it another secret: the key of
// a totp, wherever it is, and else what the table says. A code that comes and goes
// in a file is no change of secrets, since each of those has a login made.
func (c *checker) tryLate(s located, l *late) (mark providers.Secret, ok bool) {
	switch {
	case s.kind == fromCommand:
		c.lookFor(s)
	case l.totp:
		secret, ok := c.fetch(s)
		if !ok || secret == standIn {
			return secret, ok
		}
		key, err := parseTOTP(secret.Reveal())
		if err != nil {
			c.problem(s.node.off, s.at, "%s%v", s.prefix(), err)
		} else if key.short() {
			c.warn(s.node.off, s.at, "%sthe key is shorter than any in use: is it the whole one?", s.prefix())
		}
		return key.mark(), err == nil
	case s.kind == fromText:
		_, ok := c.fetch(s)
		return l.mark(), ok
	default: // it may be empty until there is a code
		if _, err := s.read(c.files); err != nil {
			return standIn, c.excuse(s, err)
		}
		c.warnForeign(s)
	}
	return l.mark(), true
}

// mark is what the table says, told apart from all else that a table may say.
func (l *late) mark() providers.Secret {
	said := map[string]string{"totp": strconv.FormatBool(l.totp), "kind": l.kind, "name": l.name, "text": l.text.Reveal()}
	for i, arg := range l.argv {
		said[strconv.Itoa(i)] = arg
	}
	sum := digest(said)
	return providers.NewSecret(string(sum[:]))
}

// get is a providers.Source.
func (l *late) get(ctx context.Context, at time.Time) (providers.Secret, error) {
	begun := time.Now()
	secret, err := l.now(ctx)
	if err != nil || !l.totp {
		return secret, err
	}
	key, err := parseTOTP(secret.Reveal())
	if err != nil {
		return providers.Secret{}, fmt.Errorf("%s%w", l.prefix(), err)
	}
	return l.codes.next(ctx, key, at.Add(time.Since(begun))) // a command takes its time
}

func (l *late) now(ctx context.Context) (providers.Secret, error) {
	if l.kind == fromCommand {
		return l.commands.run(ctx, l.argv)
	}
	secret, err := l.source.get(&reader{uid: l.uid, gids: l.gids})
	if err != nil {
		return secret, fmt.Errorf("%s%w", l.prefix(), err)
	}
	return secret, nil
}
