package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokend-project/tokend/providers/sandbox"
)

// server is a look-alike of any API.
type server interface {
	runner
	breaker
	counter
}

type runner interface {
	Listen() (string, error)
	Run(context.Context) error
}

type breaker interface {
	Fail(n int, fault sandbox.Fault)
	Heal()
	Revoke()
}

type counter interface {
	Logins() (tried, granted int)
	Wait(ctx context.Context, calls int) error
}

// command runs a look-alike, whose URL is in the variable NAME then, and has it do
// this or that:
//
//	api finam [secret…]            start; the secrets that it takes
//	api noventiq [user=password…]
//	api etna user=password [code=123456] [totp=KEY] [pin=1234]
//	api finam ttl 2s               lifetime of tokens from now on
//	api finam secrets SECRET…      take these instead from now on
//	api finam fail N FAULT…        status=503 retry=7 html body=TEXT drop late hold; N -1: until heal
//	api finam heal                 end what fails
//	api finam release              answer the calls that are held
//	api finam revoke               forget all tokens
//	api finam logins N             as many were granted
//	api finam calls N              wait until as many calls came, from the start on
func (s *stage) command(ts *testscript.TestScript, args []string) {
	need(ts, args, 1, "api NAME [VERB] [ARG...]")
	name, args := args[0], args[1:]
	api, ok := s.servers[name]
	if !ok {
		s.open(ts, name, args)
		return
	}
	need(ts, args, 1, "api NAME VERB [ARG...]")
	number := func() int {
		need(ts, args, 2, "api NAME "+args[0]+" N")
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "ttl":
		ttl, err := time.ParseDuration(args[1])
		ts.Check(err)
		api.(*sandbox.Server[sandbox.Finam]).Set(func(k *sandbox.Finam) { k.TTL = ttl })
	case "secrets":
		api.(*sandbox.Server[sandbox.Finam]).Set(func(k *sandbox.Finam) { k.Secrets = args[1:] })
	case "fail":
		api.Fail(number(), s.fault(ts, name, args[2:]))
	case "heal":
		api.Heal()
	case "release":
		close(s.held[name])
		delete(s.held, name)
	case "revoke":
		api.Revoke()
	case "logins":
		if _, granted := api.Logins(); granted != number() {
			ts.Fatalf("%d logins were granted, want %s", granted, args[1])
		}
	case "calls":
		ctx, cancel := context.WithTimeout(context.Background(), longest)
		defer cancel()
		ts.Check(api.Wait(ctx, number()))
	default:
		ts.Fatalf("unknown verb %q", args[0])
	}
}

// open starts a look-alike.
func (s *stage) open(ts *testscript.TestScript, name string, secrets []string) {
	var api server
	switch name {
	case "finam":
		api = sandbox.New(sandbox.Finam{Secrets: secrets})
	case "noventiq":
		users := map[string]string{}
		for _, secret := range secrets {
			user, password, _ := strings.Cut(secret, "=")
			users[user] = password
		}
		api = sandbox.New(sandbox.Noventiq{Users: users})
	case "etna":
		name, password, _ := strings.Cut(secrets[0], "=")
		user := sandbox.EtnaUser{Password: password}
		for _, more := range secrets[1:] {
			switch key, value, _ := strings.Cut(more, "="); key {
			case "code":
				user.TwoFactor, user.Code = true, value
			case "totp":
				user.TwoFactor, user.TOTP = true, value
			case "pin":
				user.Pin = value
			}
		}
		api = sandbox.New(sandbox.Etna{AppKeys: []string{"hush-key"}, Users: map[string]sandbox.EtnaUser{name: user}})
	default:
		ts.Fatalf("no look-alike of %q", name)
	}
	url, err := api.Listen()
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { api.Run(ctx) })
	s.closing = append(s.closing, func() {
		cancel()
		done.Wait()
	})
	s.servers[name] = api
	ts.Setenv(strings.ToUpper(name), url)
}

func (s *stage) fault(ts *testscript.TestScript, name string, words []string) (f sandbox.Fault) {
	for _, word := range words {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "status":
			status, err := strconv.Atoi(value)
			ts.Check(err)
			f.Status = status
		case "retry":
			f.RetryAfter = value
		case "body":
			f.Body = value
		case "html":
			f.HTML = true
		case "drop":
			f.Drop = true
		case "late":
			f.Late = true
		case "hold":
			if s.held[name] == nil {
				s.held[name] = make(chan struct{})
			}
			f.Hold = s.held[name]
		default:
			ts.Fatalf("unknown fault %q", word)
		}
	}
	return f
}

// fetch calls the protected resource of an API with the headers in a file, as curl
// does with -H @FILE, and checks the status: fetch STATUS URL FILE.
func (s *stage) fetch(ts *testscript.TestScript, args []string) {
	need(ts, args, 3, "fetch STATUS URL FILE")
	request(ts, http.DefaultTransport, args[0], "GET", args[1], strings.Split(ts.ReadFile(args[2]), "\n"))
}

// ask calls the daemon through its socket and checks the status; what it answered is
// on stdout, its header too: ask STATUS METHOD TARGET [HEADER…].
func (s *stage) ask(ts *testscript.TestScript, args []string) {
	need(ts, args, 3, "ask STATUS METHOD TARGET [HEADER...]")
	socket := ts.Getenv("TOKEND_SOCKET")
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	request(ts, transport, args[0], args[1], "http://tokend"+args[2], args[3:])
}

func request(ts *testscript.TestScript, transport http.RoundTripper, status, method, url string, headers []string) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	ts.Check(err)
	for _, header := range headers {
		if name, value, ok := strings.Cut(header, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	var head strings.Builder
	ts.Check(resp.Header.Write(&head))
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, err = io.WriteString(ts.Stdout(), strings.ReplaceAll(head.String(), "\r", "")+string(body))
	ts.Check(err)
	if got := strconv.Itoa(resp.StatusCode); got != status {
		ts.Fatalf("the answer is %s, want %s", got, status)
	}
}
