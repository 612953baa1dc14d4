package sandbox

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// etnaStep is an answer that asks for something more.
type etnaStep struct {
	Step   string
	Reason string
	State  string
	Token  string
}

// authenticate is one call of the chain: the password each time, and then the step
// that the ticket stands for. A locked account is told so whatever it says.
func (e Etna) authenticate(s *state, r *http.Request) answer {
	name := r.Header.Get("Username")
	user, known := e.user(name)
	switch {
	case !known:
		return etnaFailed(etnaPassword, "Invalid credentials")
	case s.now.Before(s.account(name).locked):
		return etnaFailed(etnaPassword, etnaLocked)
	case user.Password != r.Header.Get("Password"):
		e.strike(s, name)
		return etnaFailed(etnaPassword, "Invalid credentials")
	case user.Expired:
		// That the status is 202 is an assumption: a token comes along, which is for
		// the change of the password and opens nothing else.
		state := etnaPassword
		if e.ExpiredExpecting {
			state = "Expecting"
		}
		return etnaJSON(http.StatusAccepted, etnaStep{etnaPassword, "Your Password has expired and must be changed", state, opaqueToken()})
	}
	if r.Header.Get("Authorization") != "" || etnaAnswers(r) {
		return e.proceed(s, r, name, user)
	}
	return e.next(s, name, user, user.steps())
}

// steps are what comes after the password.
func (u EtnaUser) steps() []string {
	var steps []string
	if u.TwoFactor || u.TOTP != "" {
		steps = append(steps, etnaCode)
	}
	if u.Pin != "" || u.NoPin {
		steps = append(steps, etnaPin)
	}
	return steps
}

// etnaAnswers says whether a call answers a step, with or without its ticket.
func etnaAnswers(r *http.Request) bool {
	return r.Header.Get(etnaCode) != "" || r.Header.Get("PinCode") != ""
}

// proceed answers a call with a ticket, or one that should have had it. A ticket is
// good for one call. That a single call cannot take two steps, and that a ticket
// where none is due is corrupted too, are assumptions.
func (e Etna) proceed(s *state, r *http.Request, name string, user EtnaUser) answer {
	ticket, steps := bearerToken(r), user.steps()
	g := s.lookup(ticket)
	step := etnaCode
	if len(steps) > 0 {
		step = steps[0]
	}
	if g == nil || g.owner != ticketOwner(name) || s.expired(g) || !slices.Contains(steps, g.scope[0]) {
		return etnaFailed(e.spell(step), etnaTicket)
	}
	step = g.scope[0]
	s.forget(ticket)
	if e.right(s, r, step, name, user) {
		return e.next(s, name, user, steps[slices.Index(steps, step)+1:])
	}
	if !etnaAnswers(r) {
		return e.expect(s, name, step, user.asks(step))
	}
	reason := etnaWrongPin
	if step == etnaCode {
		reason = etnaWrongCode
	}
	e.strike(s, name)
	if e.Strict || s.now.Before(s.account(name).locked) {
		return etnaFailed(e.spell(step), reason)
	}
	return e.expect(s, name, step, reason)
}

// asks is how a step is asked for.
func (u EtnaUser) asks(step string) string {
	switch {
	case step == etnaCode:
		return etnaAskCode
	case u.NoPin:
		return "PIN code is not init"
	}
	return etnaWrongPin
}

// next asks for the first of these steps, or hands out the token if none is left.
// What earlier chains of this user left behind is worth nothing from here on.
func (e Etna) next(s *state, name string, user EtnaUser, steps []string) answer {
	s.revoke(ticketOwner(name))
	if len(steps) > 0 {
		if steps[0] == etnaCode && user.TOTP == "" {
			account := s.account(name)
			account.code = cmp.Or(user.Code, randomDigits())
			account.codes++
		}
		return e.expect(s, name, steps[0], user.asks(steps[0]))
	}
	token := opaqueToken()
	s.remember(token, grant{owner: name, issued: s.now, expires: s.now.Add(e.ttl())})
	s.account(name).strikes = 0
	s.logins++
	return etnaJSON(http.StatusOK, struct{ State, Token string }{"Succeeded", token})
}

// expect asks for a step with a new ticket.
func (e Etna) expect(s *state, name, step, reason string) answer {
	ticket := opaqueToken()
	s.remember(ticket, grant{
		owner: ticketOwner(name), scope: []string{step},
		issued: s.now, expires: s.now.Add(cmp.Or(e.TicketTTL, 5*time.Minute)),
	})
	return etnaJSON(http.StatusAccepted, etnaStep{e.spell(step), reason, "Expecting", ticket})
}

// right checks the answer to a step. A code that was sent is good for one use.
func (e Etna) right(s *state, r *http.Request, step, name string, user EtnaUser) bool {
	code, pin := r.Header.Get(etnaCode), r.Header.Get("PinCode")
	switch account := s.account(name); {
	case step == etnaPin:
		return pin != "" && pin == user.Pin
	case user.TOTP != "":
		return validTOTP(user.TOTP, code, s.now)
	case code == "" || code != account.code:
		return false
	default:
		account.code = ""
		return true
	}
}

// strike counts a wrong answer, and locks the account when there were enough.
func (e Etna) strike(s *state, name string) {
	account := s.account(name)
	account.strikes++
	if limit := cmp.Or(e.Lockout, 3); limit >= 0 && account.strikes >= limit {
		account.strikes, account.locked = 0, s.now.Add(etnaLockTime)
	}
}

// spell is the name of a step as this server writes it.
func (e Etna) spell(step string) string {
	if step == etnaPin && e.SecurityPin {
		return "SecurityPin"
	}
	return step
}

// ticketOwner is whose a ticket is. No header can hold such a name, so that it is
// never a user's.
func ticketOwner(name string) string { return "\x00" + name }

func etnaFailed(step, reason string) answer {
	return etnaJSON(http.StatusUnauthorized, struct{ State, Step, Reason string }{"Failed", step, reason})
}

// Sent counts the codes that were sent to a user since New, and tells the last one
// (empty once it was used), as that person's telephone would. Only Etna sends any.
func (s *Server[K]) Sent(user string) (codes int, last string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	account, known := s.state.accounts[user]
	if !known {
		return 0, ""
	}
	return account.codes, account.code
}

// opaqueToken is base64 with padding, as in the documents' samples.
func opaqueToken() string {
	bytes := make([]byte, 88)
	rand.Read(bytes) // never fails
	return base64.StdEncoding.EncodeToString(bytes)
}

// randomDigits is a code of six.
func randomDigits() string {
	bytes := make([]byte, 4)
	rand.Read(bytes) // never fails
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(bytes)%1_000_000)
}

// totpPeriod is RFC 6238's time step.
const totpPeriod = 30

// validTOTP takes the code of this time step and those of its neighbours.
func validTOTP(secret, code string, now time.Time) bool {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(strings.ToUpper(secret), "="))
	if err != nil {
		return false // no code fits a secret that is none
	}
	step := now.Unix() / totpPeriod
	for _, at := range []int64{step - 1, step, step + 1} {
		if hotp(key, uint64(at)) == code {
			return true
		}
	}
	return false
}

// hotp is RFC 4226's code of six digits for a counter.
func hotp(key []byte, counter uint64) string {
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, counter))
	sum := mac.Sum(nil)
	cut := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&0xf:])
	return fmt.Sprintf("%06d", (cut&0x7fffffff)%1_000_000)
}
