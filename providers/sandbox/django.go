package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Texts of Django REST framework and of SimpleJWT, as their sources have them.
const (
	drfRequired     = "This field is required."
	drfNull         = "This field may not be null."
	drfBlank        = "This field may not be blank."
	drfNoString     = "Not a valid string."
	drfNoDictionary = "Invalid data. Expected a dictionary, but got {datatype}."
	drfMalformed    = "Malformed request."
	drfNoToken      = "Authentication credentials were not provided."
	drfForbidden    = "You do not have permission to perform this action."
	drfMethod       = `Method "{method}" not allowed.`
	drfAccept       = "Could not satisfy the request Accept header."
	drfMediaType    = `Unsupported media type "{media_type}" in request.`
	drfThrottled    = "Request was throttled."

	simpleNoAccount    = "No active account found with the given credentials"
	simpleNoOwner      = "No active account found for the given token."
	simpleBadHeader    = "Authorization header must contain two space-delimited values"
	simpleNotValid     = "Given token not valid for any token type"
	simpleBadOrExpired = "Token is invalid or expired"
	simpleBad          = "Token is invalid"
	simpleExpired      = "Token is expired"
	simpleBlacklisted  = "Token is blacklisted"
	simpleWrongType    = "Token has wrong type"
	simpleNoUser       = "User not found"
	simpleInactive     = "User is inactive"
)

// drfTexts is what the catalogues of both make of them. What is missing is not
// translated there either, or only by an entry marked fuzzy, which Django leaves
// out. SimpleJWT knows ru-ru alone; gettext looks for ru where ru-ru has nothing.
var drfTexts = map[string]map[string]string{
	"ru": {
		drfRequired:     "Это поле обязательно.",
		drfNull:         "Это поле не может быть null.",
		drfBlank:        "Это поле не может быть пустым.",
		drfNoDictionary: "Недопустимые данные. Ожидался dictionary, но был получен {datatype}.",
		drfMalformed:    "Искаженный запрос.",
		drfNoToken:      "Учетные данные не были предоставлены.",
		drfForbidden:    "У вас нет прав для выполнения этой операции.",
		drfMethod:       `Метод "{method}" не разрешен.`,
		drfAccept:       `Невозможно удовлетворить "Accept" заголовок запроса.`,
		drfMediaType:    `Неподдерживаемый тип данных "{media_type}" в запросе.`,
		drfThrottled:    "Запрос был проигнорирован.",
	},
	"ru-ru": {
		drfRequired:        "Обязательное поле.",
		drfNull:            "Это поле не может быть пустым.",
		drfForbidden:       "У вас недостаточно прав для выполнения данного действия.",
		simpleNoAccount:    "Не найдено активной учетной записи с указанными данными",
		simpleBadHeader:    "Заголовок авторизации должен содержать два значения, разделенных пробелом",
		simpleNotValid:     "Данный токен недействителен для любого типа токена",
		simpleBadOrExpired: "Токен недействителен или просрочен",
		simpleBlacklisted:  "Токен занесен в черный список",
		simpleWrongType:    "Токен имеет неправильный тип",
		simpleNoUser:       "Пользователь не найден",
		simpleInactive:     "Пользователь неактивен",
	},
}

// drfText is a text in a locale, with the pairs of old and new put in.
func drfText(locale, text string, pairs ...string) string {
	language, _, _ := strings.Cut(locale, "-")
	for _, name := range []string{locale, language} {
		if translated, ok := drfTexts[name][text]; ok {
			text = translated
			break
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// django adds the headers that a new Django project gives every response.
func django(reply answer) answer {
	reply.header.Set("X-Frame-Options", "DENY")
	reply.header.Set("X-Content-Type-Options", "nosniff")
	reply.header.Set("Referrer-Policy", "same-origin")
	reply.header.Set("Cross-Origin-Opener-Policy", "same-origin")
	return reply
}

// djangoPage is the page of a project without DEBUG and without templates.
func djangoPage(status int) answer {
	title, details := fmt.Sprintf("%d %s", status, http.StatusText(status)), ""
	switch status {
	case http.StatusBadRequest:
		title = "Bad Request (400)"
	case http.StatusNotFound:
		title, details = "Not Found", "The requested resource was not found on this server."
	case http.StatusInternalServerError:
		title = "Server Error (500)"
	}
	return answerOf(status, "text/html", fmt.Appendf(nil, "\n<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>%s</title>\n"+
		"</head>\n<body>\n  <h1>%s</h1><p>%s</p>\n</body>\n</html>\n", title, title, details))
}

// appendSlash is CommonMiddleware's redirect, which keeps the query and, being a
// 301, loses the method and the body of a POST in most clients. Under DEBUG a POST
// would be a page about a RuntimeError instead.
func appendSlash(u *url.URL) answer {
	location := u.EscapedPath() + "/"
	if u.RawQuery != "" {
		location += "?" + u.RawQuery
	}
	reply := answerOf(http.StatusMovedPermanently, "text/html; charset=utf-8", nil)
	reply.header.Set("Location", location)
	return reply
}

// drfDetail is how the framework words an exception.
func drfDetail(status int, detail string) answer {
	return jsonAnswer(status, struct {
		Detail string `json:"detail"`
	}{detail})
}

// drfErrors are a serializer's, in the order of its fields.
type drfErrors []drfError

type drfError struct{ field, text string }

// MarshalJSON writes an object with one list per field.
func (e drfErrors) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	for i, one := range e {
		name, err1 := json.Marshal(one.field)
		list, err2 := json.Marshal([]string{one.text})
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		fmt.Fprintf(&text, "%c%s:%s", "{,"[min(i, 1)], name, list)
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

// drfFields reads the named fields of a call as serializers.CharField does, which
// also trims them, passwords included; refused is nil if all are there.
func drfFields(locale string, r *http.Request, body []byte, names ...string) (values []string, refused *answer) {
	data, refused := drfData(locale, r.Header.Get("Content-Type"), body)
	if refused != nil {
		return nil, refused
	}
	var faults drfErrors
	for _, name := range names {
		raw, present := data[name]
		value, fault := drfString(raw)
		if !present {
			fault = drfRequired
		}
		if fault != "" {
			faults = append(faults, drfError{name, drfText(locale, fault)})
		}
		values = append(values, value)
	}
	if len(faults) > 0 {
		reply := jsonAnswer(http.StatusBadRequest, faults)
		return nil, &reply
	}
	return values, nil
}

func drfString(raw any) (value, fault string) {
	switch v := raw.(type) {
	case nil:
		return "", drfNull
	case json.Number:
		return v.String(), ""
	case string:
		if v = strings.TrimSpace(v); v == "" {
			return "", drfBlank
		}
		return v, ""
	}
	return "", drfNoString
}

// drfData is a request's data: JSON or a form. The framework's third format,
// multipart, is not spoken here. Of a parse error only the place is Python's: which
// of its sentences comes first is not imitated.
func drfData(locale, contentType string, body []byte) (map[string]any, *answer) {
	if len(body) == 0 {
		return nil, nil
	}
	// A content type that cannot be parsed is none that is supported.
	media, _, _ := mime.ParseMediaType(contentType)
	var reply answer
	switch media {
	case "application/x-www-form-urlencoded":
		form, _ := url.ParseQuery(string(body)) // what cannot be read is left out
		data := map[string]any{}
		for name, values := range form {
			data[name] = values[len(values)-1]
		}
		return data, nil
	case "application/json":
		var data any
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		if err := json.Unmarshal(body, &data); err != nil {
			reply = drfDetail(http.StatusBadRequest, "JSON parse error - Expecting value: "+pythonPlace(body, err))
			return nil, &reply
		}
		if err := decoder.Decode(&data); err != nil {
			panic(fmt.Errorf("reading JSON a second time: %w", err)) // it was read once: a bug
		}
		fields, ok := data.(map[string]any)
		if ok {
			return fields, nil
		}
		text := "No data provided"
		if data != nil {
			text = drfText(locale, drfNoDictionary, "{datatype}", pythonType(data))
		}
		reply = jsonAnswer(http.StatusBadRequest, drfErrors{{"non_field_errors", text}})
	default:
		reply = drfDetail(http.StatusUnsupportedMediaType, drfText(locale, drfMediaType, "{media_type}", contentType))
	}
	return nil, &reply
}

// pythonPlace is where a JSON text is broken, as Python's json module tells it.
func pythonPlace(body []byte, err error) string {
	offset := len(body)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && syntax.Error() != "unexpected end of JSON input" {
		offset = int(syntax.Offset) - 1
	}
	before := body[:offset]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d column %d (char %d)", line, column, utf8.RuneCount(before))
}

func pythonType(value any) string {
	switch v := value.(type) {
	case []any:
		return "list"
	case bool:
		return "bool"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "float"
		}
		return "int"
	}
	return "str"
}

// drfAccepts says whether a client takes JSON, the one format of this API.
func drfAccepts(accept string) bool {
	if accept == "" {
		return true
	}
	for kind := range strings.SplitSeq(accept, ",") {
		kind, _, _ = strings.Cut(kind, ";")
		switch strings.TrimSpace(kind) {
		case "*/*", "application/*", "application/json":
			return true
		}
	}
	return false
}
