package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Finam is the Finam Trade API's session service, with one resource that needs its
// token. The zero value behaves as the vendor's swagger and proto files say:
//
//	POST /v1/sessions          {"secret"} → {"token"}, a JWT of 15 minutes
//	POST /v1/sessions/details  {"token"} → times, permissions, accounts
//	GET  /v1/usage             Authorization → the quotas
//	GET  /v1/accounts/{id}     Authorization → the account
type Finam struct {
	Secrets  []string      // that open a session; nil: your-api-secret-key, as in the documents
	Accounts []string      // of the session; nil: TRQD05:123456; none at all: logins get 404
	TTL      time.Duration // of tokens, in whole seconds; 0: 15 minutes
	Opaque   bool          // tokens that are no JWT
	Key      []byte        // signs the JWTs (HS256); nil: a built-in one
	Single   bool          // a new token ends the earlier ones of its secret (undocumented)

	Limit      int    // calls per method and sliding minute; 0: 200; negative: none
	RetryAfter string // sent with 429, as it is (undocumented)

	AllowAuthorization bool // session calls may carry an Authorization header, as until 2026-09
	RefuseRaw          bool // the bare token in Authorization is refused
	RefuseBearer       bool // `Bearer TOKEN` in Authorization is refused
	CamelCase          bool // createdAt instead of created_at, as gateways do by default
}

// The codes of google.rpc.Code that this API answers with.
const (
	rpcCanceled         = 1
	rpcUnknown          = 2
	rpcInvalidArgument  = 3
	rpcDeadlineExceeded = 4
	rpcNotFound         = 5
	rpcPermissionDenied = 7
	rpcExhausted        = 8
	rpcAborted          = 10
	rpcUnimplemented    = 12
	rpcInternal         = 13
	rpcUnavailable      = 14
	rpcUnauthenticated  = 16
)

// Texts of the errors: the descriptions of the statuses in the swagger file. What
// the service really writes is not documented.
const (
	finamBadToken    = "Срок действия токена истек или токен недействителен"
	finamNoAccount   = "Счёт не был найден в токене"
	finamTooMany     = "Слишком много запросов. Доступный лимит - %d запросов в минуту"
	finamInternal    = "Внутренняя ошибка сервиса. Попробуйте позже"
	finamUnavailable = "Сервис на данный момент не доступен. Попробуйте позже"
	finamDeadline    = "Крайний срок истек до завершения операции"
	// Seen in the wild, on session calls with an Authorization header.
	finamMalformed = "Token is invalid or malformed. See: https://api.finam.ru/docs/rest/#authservice_auth"
)

// Names of the methods, which count calls and name quotas. That quotas carry gRPC's
// names is an assumption.
const (
	finamAuth    = "/grpc.tradeapi.v1.auth.AuthService/Auth"
	finamDetails = "/grpc.tradeapi.v1.auth.AuthService/TokenDetails"
	finamAccount = "/grpc.tradeapi.v1.accounts.AccountsService/GetAccount"
	finamUsage   = "/grpc.tradeapi.v1.metrics.UsageMetricsService/GetUsageMetrics"
)

const finamDefaultLimit = 200

func (Finam) login() string { return "/v1/sessions" }

// act does what the gateway does, in its order: route, method, body; then the call.
func (f Finam) act(s *state, r *http.Request, body []byte) answer {
	rpc, verb, account := finamRoute(r.URL.Path)
	if rpc == "" {
		return rpcStatus(http.StatusNotFound, rpcNotFound, http.StatusText(http.StatusNotFound))
	}
	if r.Method != verb {
		return rpcStatus(http.StatusNotImplemented, rpcUnimplemented, http.StatusText(http.StatusMethodNotAllowed))
	}
	var fields map[string]json.RawMessage
	if verb == http.MethodPost {
		var err error
		if fields, err = gatewayFields(body, "secret", "token", "source_app_id", "sourceAppId"); err != nil {
			return rpcStatus(http.StatusBadRequest, rpcInvalidArgument, err.Error())
		}
	}
	reply := f.call(s, rpc, r, fields, account)
	if f.CamelCase {
		reply.body = camelKeys(reply.body)
	}
	reply.header.Set("Grpc-Metadata-Content-Type", "application/grpc") // of whatever got past the gateway
	return reply
}

func finamRoute(path string) (rpc, verb, account string) {
	switch path {
	case "/v1/sessions":
		return finamAuth, http.MethodPost, ""
	case "/v1/sessions/details":
		return finamDetails, http.MethodPost, ""
	case "/v1/usage":
		return finamUsage, http.MethodGet, ""
	}
	account, ok := strings.CutPrefix(path, "/v1/accounts/")
	if !ok || account == "" || strings.Contains(account, "/") {
		return "", "", ""
	}
	return finamAccount, http.MethodGet, account
}

// call is the service behind the gateway. That the quota is looked at before the
// token is an assumption.
func (f Finam) call(s *state, rpc string, r *http.Request, fields map[string]json.RawMessage, account string) answer {
	if !s.admit(rpc, f.limit()) {
		return f.throttled()
	}
	switch rpc {
	case finamAuth, finamDetails:
		// Any header at all, even an empty one, gets this; 401 and 16 are assumed.
		if _, present := r.Header["Authorization"]; present && !f.AllowAuthorization {
			return finamUnauthenticated(finamMalformed)
		}
		if rpc == finamAuth {
			return f.session(s, textOf(fields["secret"]))
		}
		return f.details(s, textOf(fields["token"]))
	}
	g := f.authorized(s, r)
	if g == nil {
		return finamUnauthenticated(finamBadToken)
	}
	if rpc == finamUsage {
		return f.usage(s)
	}
	if !slices.Contains(g.scope, account) {
		return rpcStatus(http.StatusNotFound, rpcNotFound, finamNoAccount)
	}
	return jsonAnswer(http.StatusOK, finamAccountOf(account))
}

// session is the login: AuthService/Auth.
func (f Finam) session(s *state, secret string) answer {
	secrets, accounts := f.Secrets, f.Accounts
	if secrets == nil {
		secrets = []string{"your-api-secret-key"}
	}
	if accounts == nil {
		accounts = []string{"TRQD05:123456"}
	}
	switch {
	case secret == "": // the proto file gives 400 the same words as 401
		return rpcStatus(http.StatusBadRequest, rpcInvalidArgument, finamBadToken)
	case !slices.Contains(secrets, secret):
		return finamUnauthenticated(finamBadToken)
	case len(accounts) == 0:
		return rpcStatus(http.StatusNotFound, rpcNotFound, finamNoAccount)
	}
	token := f.issue(s, fingerprint(secret), slices.Clone(accounts))
	return jsonAnswer(http.StatusOK, struct {
		Token string `json:"token"`
	}{token})
}

// issue makes a token. Its times are whole seconds, as those of a JWT are.
func (f Finam) issue(s *state, owner string, accounts []string) string {
	if f.Single {
		s.revoke(owner)
	}
	issued := s.now.Truncate(time.Second)
	g := grant{owner: owner, scope: accounts, issued: issued, expires: issued.Add(cmp.Or(f.TTL, 15*time.Minute))}
	token := randomText(40)
	if !f.Opaque {
		// Clients of this API rely on exp; its other claims are not documented.
		token = signJWT(f.Key, jwt.RegisteredClaims{
			ID:        randomHex(32),
			IssuedAt:  jwt.NewNumericDate(g.issued),
			ExpiresAt: jwt.NewNumericDate(g.expires),
		})
	}
	s.remember(token, g)
	s.logins++
	return token
}

// details is AuthService/TokenDetails.
func (f Finam) details(s *state, token string) answer {
	if token == "" {
		return rpcStatus(http.StatusBadRequest, rpcInvalidArgument, finamBadToken)
	}
	g := s.lookup(token)
	if g == nil || s.expired(g) {
		return finamUnauthenticated(finamBadToken)
	}
	type permission struct {
		Level string `json:"quote_level"`
		Delay int    `json:"delay_minutes"`
		MIC   string `json:"mic"`
	}
	return jsonAnswer(http.StatusOK, struct {
		Created     string       `json:"created_at"`
		Expires     string       `json:"expires_at"`
		Permissions []permission `json:"md_permissions"`
		Accounts    []string     `json:"account_ids"`
		Readonly    bool         `json:"readonly"`
	}{
		protoTime(g.issued), protoTime(g.expires),
		[]permission{{"QUOTE_LEVEL_LAST_PRICE", 0, "MISX"}},
		g.scope, false,
	})
}

// usage is UsageMetricsService/GetUsageMetrics.
func (f Finam) usage(s *state) answer {
	type quota struct {
		Name      string  `json:"name"`
		Limit     string  `json:"limit"` // int64 is a string in protobuf's JSON
		Remaining string  `json:"remaining"`
		Reset     *string `json:"reset_time"`
	}
	quotas := []quota{}
	for _, rpc := range []string{finamAuth, finamDetails, finamAccount, finamUsage} {
		calls := s.window(rpc)
		q := quota{Name: rpc, Limit: strconv.Itoa(f.limit()), Remaining: strconv.Itoa(max(0, f.limit()-len(calls)))}
		if len(calls) > 0 {
			reset := protoTime(calls[0].Add(time.Minute))
			q.Reset = &reset
		}
		quotas = append(quotas, q)
	}
	return jsonAnswer(http.StatusOK, map[string]any{"quotas": quotas})
}

// authorized is the token in the Authorization header: raw, as the proto files have
// it, or with Bearer, as the newest samples do.
func (f Finam) authorized(s *state, r *http.Request) *grant {
	token := r.Header.Get("Authorization")
	scheme, rest, spaced := strings.Cut(token, " ")
	bearer := spaced && strings.EqualFold(scheme, "Bearer")
	if bearer {
		token = rest
	}
	if bearer && f.RefuseBearer || !bearer && f.RefuseRaw {
		return nil
	}
	if g := s.lookup(token); g != nil && !s.expired(g) {
		return g
	}
	return nil
}

func (f Finam) limit() int { return cmp.Or(f.Limit, finamDefaultLimit) }

func (f Finam) throttled() answer {
	reply := rpcStatus(http.StatusTooManyRequests, rpcExhausted, fmt.Sprintf(finamTooMany, f.limit()))
	if f.RetryAfter != "" {
		reply.header.Set("Retry-After", f.RetryAfter)
	}
	return reply
}

func (f Finam) failure(status int) answer {
	switch status {
	case http.StatusBadRequest:
		return rpcStatus(status, rpcInvalidArgument, finamBadToken)
	case http.StatusUnauthorized:
		return finamUnauthenticated(finamBadToken)
	case http.StatusForbidden:
		return rpcStatus(status, rpcPermissionDenied, http.StatusText(status))
	case http.StatusNotFound:
		return rpcStatus(status, rpcNotFound, finamNoAccount)
	case http.StatusConflict:
		return rpcStatus(status, rpcAborted, http.StatusText(status))
	case http.StatusTooManyRequests:
		return f.throttled()
	case http.StatusRequestTimeout, 499:
		return rpcStatus(status, rpcCanceled, "context canceled")
	case http.StatusInternalServerError:
		return rpcStatus(status, rpcInternal, finamInternal)
	case http.StatusNotImplemented:
		return rpcStatus(status, rpcUnimplemented, http.StatusText(status))
	case http.StatusServiceUnavailable:
		return rpcStatus(status, rpcUnavailable, finamUnavailable)
	case http.StatusGatewayTimeout:
		return rpcStatus(status, rpcDeadlineExceeded, finamDeadline)
	}
	return rpcStatus(status, rpcUnknown, http.StatusText(status))
}

func finamUnauthenticated(message string) answer {
	return rpcStatus(http.StatusUnauthorized, rpcUnauthenticated, message)
}

// finamAccountOf has the fields of GetAccountResponse, with the values of the sample
// account that a public client tests with.
func finamAccountOf(id string) any {
	type decimal struct {
		Value string `json:"value"`
	}
	type money struct {
		Currency string `json:"currency_code"`
		Units    string `json:"units"`
		Nanos    int    `json:"nanos"`
	}
	return struct {
		ID         string   `json:"account_id"`
		Type       string   `json:"type"`
		Status     string   `json:"status"`
		Equity     decimal  `json:"equity"`
		Unrealized decimal  `json:"unrealized_profit"`
		Positions  []string `json:"positions"`
		Cash       []money  `json:"cash"`
	}{
		id, "UNION", "ACCOUNT_ACTIVE",
		decimal{"989.38"},
		decimal{"0.4"},
		[]string{},
		[]money{{"RUB", "361", 7800000}},
	}
}
