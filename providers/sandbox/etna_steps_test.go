package sandbox

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bearer is the line with a ticket.
func bearer(ticket string) string { return "Authorization: Bearer " + ticket }

// sent asserts how many codes the user has got, and returns the last.
func sent(t *testing.T, server *Server[Etna], want int) string {
	t.Helper()
	codes, last := server.Sent("testusername")
	if codes != want {
		t.Errorf("%d codes were sent, want %d", codes, want)
	}
	return last
}

func TestEtnaChains(t *testing.T) {
	const code, pin = "VerificationCode: 123456", "PinCode: 4321"
	type call struct {
		answer string // the line with it; empty: the first call
		status int
		want   string
	}
	first := func(want string) call { return call{"", 202, want} }
	tests := []struct {
		name  string
		user  EtnaUser
		knobs func(*Etna)
		calls []call
		codes int
	}{
		{"password alone", EtnaUser{}, nil, []call{{"", 200, etnaSucceeded}}, 0},
		{"code", EtnaUser{TwoFactor: true}, nil, []call{first(etnaExpectCode), {code, 200, etnaSucceeded}}, 1},
		{"pin", EtnaUser{Pin: "4321"}, nil, []call{first(etnaExpectPin), {pin, 200, etnaSucceeded}}, 0},
		{
			"code and pin",
			EtnaUser{TwoFactor: true, Pin: "4321"},
			nil,
			[]call{first(etnaExpectCode), {code, 202, etnaExpectPin}, {pin, 200, etnaSucceeded}},
			1,
		},
		{"the other spelling", EtnaUser{Pin: "4321"}, func(k *Etna) { k.SecurityPin = true }, []call{
			first(`{"Step":"SecurityPin","Reason":"Invalid pin","State":"Expecting","Token":"TOKEN"}`), {pin, 200, etnaSucceeded},
		}, 0},
		{
			"wrong code, then right",
			EtnaUser{TwoFactor: true},
			nil,
			[]call{first(etnaExpectCode), {"VerificationCode: 000000", 202, etnaRetryCode}, {code, 200, etnaSucceeded}},
			1,
		},
		{
			"no code, then right",
			EtnaUser{TwoFactor: true},
			nil,
			[]call{first(etnaExpectCode), {"Accept: */*", 202, etnaExpectCode}, {code, 200, etnaSucceeded}},
			1,
		},
		{"wrong pin, then right", EtnaUser{Pin: "4321"}, nil, []call{first(etnaExpectPin), {"PinCode: 1", 202, etnaExpectPin}, {pin, 200, etnaSucceeded}}, 0},
		{"wrong code, strictly", EtnaUser{TwoFactor: true}, func(k *Etna) { k.Strict = true }, []call{
			first(etnaExpectCode),
			{"VerificationCode: 000000", 401, `{"State":"Failed","Step":"VerificationCode","Reason":"Invalid confirmation code"}`},
			{code, 401, etnaCorrupted},
		}, 1},
		{"wrong pin, strictly", EtnaUser{Pin: "4321"}, func(k *Etna) { k.Strict = true }, []call{
			first(etnaExpectPin),
			{"PinCode: 1", 401, etnaBadPin},
			{pin, 401, `{"State":"Failed","Step":"SecutityPin","Reason":"Corrupted ticket"}`},
		}, 0},
		{"pin never set", EtnaUser{NoPin: true}, nil, []call{
			first(`{"Step":"SecutityPin","Reason":"PIN code is not init","State":"Expecting","Token":"TOKEN"}`), {"PinCode: 1", 202, etnaExpectPin},
		}, 0},
		{"password expired", EtnaUser{Expired: true, TwoFactor: true}, nil, []call{
			first(`{"Step":"BaseAuthentication","Reason":"Your Password has expired and must be changed","State":"BaseAuthentication","Token":"TOKEN"}`),
		}, 0},
		{"password expired, expecting", EtnaUser{Expired: true}, func(k *Etna) { k.ExpiredExpecting = true }, []call{
			first(`{"Step":"BaseAuthentication","Reason":"Your Password has expired and must be changed","State":"Expecting","Token":"TOKEN"}`),
		}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.user.TwoFactor {
				test.user.Code = "123456"
			}
			server := New(one(test.user))
			if test.knobs != nil {
				server.Set(test.knobs)
			}
			send := start(t, server)
			ticket, granted := "", 0
			for _, c := range test.calls {
				login := etnaLogin()
				if c.answer != "" {
					login = etnaLogin(bearer(ticket), c.answer)
				}
				old := ticket
				if ticket = expect(t, send(login), c.status, c.want); ticket == old && old != "" {
					t.Error("a ticket came twice")
				}
				want := 401
				if c.status == 200 {
					want, granted = 200, 1
				}
				if got := send(info("@me", bearer(ticket), "Et-App-Key: yourEttAppKey")); got.status != want {
					t.Errorf("with the token of this answer: %d %s, want %d", got.status, got.body, want)
				}
			}
			sent(t, server, test.codes)
			if _, got := server.Logins(); got != granted {
				t.Errorf("%d logins granted, want %d", got, granted)
			}
		})
	}
}

// What makes a chain break: each case calls once more, after the first answer.
func TestEtnaTickets(t *testing.T) {
	tests := []struct {
		name  string
		skew  time.Duration
		again bool // a first call in between
		lines []string
		want  int
		body  string
	}{
		{"in time", 5*time.Minute - time.Second, false, []string{"Authorization: Bearer TICKET"}, 200, etnaSucceeded},
		{"scheme in other case", 0, false, []string{"Authorization: bearer TICKET"}, 200, etnaSucceeded},
		{"too late", 5 * time.Minute, false, []string{"Authorization: Bearer TICKET"}, 401, etnaCorrupted},
		{"superseded", 0, true, []string{"Authorization: Bearer TICKET"}, 401, etnaCorrupted},
		{"none", 0, false, nil, 401, etnaCorrupted},
		{"without a scheme", 0, false, []string{"Authorization: TICKET"}, 401, etnaCorrupted},
		{"somebody else's", 0, false, []string{"Authorization: Bearer TICKET", "Username: bob"}, 401, etnaCorrupted},
		{"without the password", 0, false, []string{"Authorization: Bearer TICKET", "Password"}, 401, etnaBad},
		{"without the key", 0, false, []string{"Authorization: Bearer TICKET", "Et-App-Key"}, 401, etnaNoKey},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := New(Etna{Users: map[string]EtnaUser{
					"testusername": {Password: "testpassword", TwoFactor: true}, "bob": {Password: "testpassword", TwoFactor: true},
				}})
				call := func(r request) response { return record(server, "192.0.2.7:1", r) }
				ticket := expect(t, call(etnaLogin()), 202, etnaExpectCode)
				codes := 1
				if test.again {
					expect(t, call(etnaLogin()), 202, etnaExpectCode)
					codes = 2
				}
				server.Skew(test.skew)
				lines := []string{"VerificationCode: " + sent(t, server, codes)}
				for _, line := range test.lines {
					lines = append(lines, strings.Replace(line, "TICKET", ticket, 1))
				}
				expect(t, call(etnaLogin(lines...)), test.want, test.body)
				sent(t, server, codes)
			})
		})
	}
}

func TestEtnaTicketsAreForOneUse(t *testing.T) {
	server := New(one(EtnaUser{Pin: "4321"}))
	call := start(t, server)
	const corrupted = `{"State":"Failed","Step":"SecutityPin","Reason":"Corrupted ticket"}`
	first := expect(t, call(etnaLogin()), 202, etnaExpectPin)
	second := expect(t, call(etnaLogin(bearer(first), "PinCode: 1")), 202, etnaExpectPin)
	expect(t, call(etnaLogin(bearer(first), "PinCode: 4321")), 401, corrupted)
	expect(t, call(request{"POST", "/logout", "", []string{bearer(second), "Et-App-Key: yourEttAppKey"}}), 401, etnaDeniedAll)
	token := expect(t, call(etnaLogin(bearer(second), "PinCode: 4321")), 200, etnaSucceeded)
	expect(t, call(etnaLogin(bearer(token), "PinCode: 4321")), 401, corrupted) // a token is no ticket

	third := expect(t, call(etnaLogin()), 202, etnaExpectPin)
	server.Set(func(k *Etna) { *k = one(EtnaUser{}) })
	expect(t, call(etnaLogin(bearer(third), "PinCode: 4321")), 401, etnaCorrupted)
}

func TestEtnaCodesAreForOneUse(t *testing.T) {
	server := New(one(EtnaUser{TwoFactor: true}))
	call := start(t, server)
	if codes, last := server.Sent("testusername"); codes != 0 || last != "" {
		t.Errorf("before any login: %d codes, %q", codes, last)
	}
	ticket := expect(t, call(etnaLogin()), 202, etnaExpectCode)
	code := sent(t, server, 1)
	if len(code) != 6 {
		t.Errorf("the code is %q", code)
	}
	expect(t, call(etnaLogin(bearer(ticket), "VerificationCode: "+code)), 200, etnaSucceeded)
	expect(t, call(etnaLogin(bearer(ticket), "VerificationCode: "+code)), 401, etnaCorrupted)
	if last := sent(t, server, 1); last != "" {
		t.Errorf("the used code %q is still good", last)
	}
}

func TestEtnaLockout(t *testing.T) {
	const locked = `{"State":"Failed","Step":"BaseAuthentication","Reason":"Account is locked"}`
	synctest.Test(t, func(t *testing.T) {
		server := New(one(EtnaUser{Pin: "4321"}))
		call := func(r request) response { return record(server, "192.0.2.7:1", r) }
		expect(t, call(etnaLogin("Password: x")), 401, etnaBad)
		expect(t, call(etnaLogin("Password: x")), 401, etnaBad)
		ticket := expect(t, call(etnaLogin()), 202, etnaExpectPin)
		expect(t, call(etnaLogin(bearer(ticket), "PinCode: 4321")), 200, etnaSucceeded) // forgives both
		ticket = expect(t, call(etnaLogin()), 202, etnaExpectPin)
		for range 2 {
			ticket = expect(t, call(etnaLogin(bearer(ticket), "PinCode: 1")), 202, etnaExpectPin)
		}
		expect(t, call(etnaLogin(bearer(ticket), "PinCode: 1")), 401, etnaBadPin)
		server.Skew(etnaLockTime - time.Second)
		expect(t, call(etnaLogin()), 401, locked)
		server.Skew(etnaLockTime)
		expect(t, call(etnaLogin()), 202, etnaExpectPin)

		server.Set(func(k *Etna) { k.Lockout = 1 })
		expect(t, call(etnaLogin("Password: x")), 401, etnaBad)
		expect(t, call(etnaLogin()), 401, locked)
	})
}

func TestEtnaTOTP(t *testing.T) {
	// RFC 6238's secret and the last six of its eight digits, for SHA-1.
	const secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	for second, code := range map[int64]string{1111111111: "050471", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"} {
		for offset, want := range map[int64]bool{-60: false, -30: true, 0: true, 30: true, 60: false} {
			if got := validTOTP(secret, code, time.Unix(second+offset, 0)); got != want {
				t.Errorf("%s, %d s from %d: %v, want %v", code, offset, second, got, want)
			}
		}
	}
	if validTOTP("not base32!", "", time.Now()) || validTOTP(secret, "", time.Now()) {
		t.Error("an empty code is taken")
	}
	server := New(one(EtnaUser{TOTP: "gezdgnbvgy3tqojqgezdgnbvgy3tqojq===="}))
	server.Skew(time.Until(time.Unix(1234567890, 0)))
	call := start(t, server)
	ticket := expect(t, call(etnaLogin()), 202, etnaExpectCode)
	ticket = expect(t, call(etnaLogin(bearer(ticket), "VerificationCode: 005925")), 202, etnaRetryCode)
	expect(t, call(etnaLogin(bearer(ticket), "VerificationCode: 005924")), 200, etnaSucceeded)
	sent(t, server, 0)
}
