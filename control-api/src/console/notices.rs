//! What was just done, in a sentence that the next page shows.

use shared::web::language::Language;

/// What was just done, by its name in the address of the page that says so. Other names say
/// nothing.
pub fn done(lang: Language, name: &str) -> Option<&'static str> {
    let (english, russian) = match name {
        "welcome" => ("Welcome! Your account is ready.", "Добро пожаловать! Учётная запись создана."),
        "logged-out" => ("You are logged out.", "Вы вышли."),
        "profile" => ("Your profile is saved.", "Профиль сохранён."),
        "password" => {
            ("Your password is changed. Other logins have ended.", "Пароль изменён. Остальные входы завершены.")
        }
        "login-ended" => (
            "Your login had ended, so nothing was saved. Log in again.",
            "Вход завершён, ничего не сохранено. Войдите снова.",
        ),
        "password-set" => ("Your password is set. You can log in with it now.", "Пароль сохранён. Теперь можно войти."),
        "sessions" => ("You are logged out everywhere.", "Вы вышли на всех устройствах."),
        "extended" => ("The token has more time now.", "Время токена продлено."),
        "refunded" => {
            ("The token is refunded. The credits are on your balance.", "Токен возвращён, средства на балансе.")
        }
        "taken-over" => (
            "The token is free. The next device that opens Zenzefi has it.",
            "Токен свободен. Он достанется следующему устройству, которое откроет Zenzefi.",
        ),
        "taken-over-soon" => (
            "The token will be free in a moment: the gateway could not be told at once.",
            "Токен скоро освободится: сразу сообщить шлюзу не удалось.",
        ),
        "price-changed" => ("The price has changed. Please look again.", "Цена изменилась. Проверьте ещё раз."),
        "user-disabled" => (
            "The account is disabled. Its logins and everything open on its tokens have ended.",
            "Учётная запись отключена. Её входы и всё, что было открыто по её токенам, завершены.",
        ),
        "user-enabled" => (
            "The account is enabled. Its tokens work again, as far as their time is not over.",
            "Учётная запись включена. Её токены снова действуют, если их время не вышло.",
        ),
        "promoted" => ("The user is an administrator now.", "Пользователь теперь администратор."),
        "demoted" => ("The user is no administrator any more.", "Пользователь больше не администратор."),
        "credited" => ("The balance is raised.", "Баланс увеличен."),
        "debited" => ("The balance is lowered.", "Баланс уменьшен."),
        "failures-cleared" => ("The failed logins are forgotten.", "Неудачные попытки входа сброшены."),
        "networks" => ("The networks are saved.", "Сети сохранены."),
        "revoked" => ("The token is revoked.", "Токен отозван."),
        "revoked-pending" => (
            "The token is revoked. The edges will hear of it as soon as Redis answers.",
            "Токен отозван. Шлюзы узнают об этом, как только ответит Redis.",
        ),
        "cut" => ("The session is ended.", "Сеанс завершён."),
        "cut-pending" => (
            "The session is ended. The edges will hear of it as soon as Redis answers.",
            "Сеанс завершён. Шлюзы узнают об этом, как только ответит Redis.",
        ),
        "bundle-created" => ("The bundle is on offer.", "Пакет выставлен на продажу."),
        "bundle-changed" => ("The bundle is saved.", "Пакет сохранён."),
        "bundle-withdrawn" => ("The bundle is no longer on offer.", "Пакет снят с продажи."),
        _ => return None,
    };
    Some(lang.say(english, russian))
}
