"""Everything Steward says in Telegram in its own words, in Russian."""

from __future__ import annotations

from collections.abc import Mapping

from lib.english import English, Trouble


class Russian(English):
    """What has words of its own; how they are put together stands in English.

    Numbers stand behind a colon or before an abbreviation: so no word has to agree with them.
    """

    START = (
        "Здравствуйте! Я Steward, ваш помощник. Пишите мне, как написали бы человеку: я думаю с помощью Claude и помню"
        " наш разговор. Что ещё я умею, покажет /help."
    )
    NEW = "Начинаем новый разговор; то, о чём мы говорили раньше, я больше не учитываю."
    UNKNOWN_COMMAND = "Я не знаю такой команды. Какие знаю, покажет /help."
    RETRYING = "Спрашиваю Claude ещё раз."
    NOTHING_TO_RETRY = "Повторять нечего: вашим последним сообщением я уже занят, или его ещё не было."
    CANNOT_LOOK = "Сейчас это не получилось, и ошибка не ваша. Причину мой владелец найдёт в моём журнале."
    CANNOT_READ = "Telegram прислал мне то, чего я не могу прочитать. Пожалуйста, напишите простым текстом."
    EDIT_TOO_LATE = "Вы изменили сообщение, за которое я уже взялся. Пожалуйста, отправьте его заново."
    REPEAT_MARK = "(Возможно, это повтор.)\n\n"
    CUT_SHORT = "(Длиннее один ответ быть не может. Напишите «дальше», и я продолжу.)"
    NOT_TAKEN = "Telegram не принял моё сообщение, поэтому здесь чего-то не хватает. Пожалуйста, спросите по-другому."
    SET_ASIDE = (
        "Я трижды пытался ответить на ваше сообщение, и каждый раз что-то ломалось, поэтому я его отложил. Простите."
        " Пожалуйста, попробуйте сказать по-другому."
    )
    OWNER_SET_ASIDE = "Сообщение отложено после трёх неудачных попыток (correlation id {correlation_id})."
    OWNER_PARKED = (
        "Telegram прислал обновление, которое я не могу прочитать (обновление {update_id}, correlation id"
        " {correlation_id}). Я сохранил его и работаю дальше."
    )
    OWNER_REFUSED = (
        "Какое-то время Telegram не принимал мой токен ({text}). Сообщения он хранит 24 часа; более старые пропали."
    )
    UNREADABLE: Mapping[str, str] = {
        "voice": "Голосовые сообщения я пока не понимаю. Напишите, пожалуйста, текстом.",
        "audio": "Музыку и записи я пока не слышу. Напишите, пожалуйста, о чём там речь.",
        "video": "Видео я пока не смотрю. Зато могу посмотреть снимок экрана.",
        "video_note": "Видеосообщения я пока не смотрю. Напишите, пожалуйста, текстом.",
        "animation": "Анимации я пока не смотрю. Зато могу посмотреть снимок экрана.",
        "live_photo": "Живые фото я пока не смотрю. Пришлите, пожалуйста, обычное фото.",
        "sticker": "Симпатичный! Но слова я понимаю лучше.",
        "location": "Карту я пока не вижу. Напишите, пожалуйста, адрес или название места.",
        "venue": "Карту я пока не вижу. Напишите, пожалуйста, адрес или название места.",
        "contact": "Контакт прочитать я пока не могу. Напишите, пожалуйста, что в нём важно.",
        "poll": "В опросах я не участвую. Напишите мне, пожалуйста, сам вопрос.",
        "checklist": "Списки задач я пока не читаю. Пришлите, пожалуйста, текстом.",
        "dice": "Хороший бросок! Но со словами я умею больше.",
        "game": "В игры я не играю. Зато умею отвечать на слова.",
        "story": "Истории мне не видны. Зато могу посмотреть снимок экрана.",
        "paid_media": "Платные материалы мне не видны. Напишите, пожалуйста, о чём там речь.",
        "too_large": (
            "Этот файл для меня слишком велик: картинки я принимаю до 3,9 МБ (отправленные как фото подходят всегда),"
            " PDF до 20 МБ, текстовые файлы до 200 КБ. Пришлите, пожалуйста, файл поменьше или его часть."
        ),
        "type": "Такие файлы я не открываю. Я читаю картинки (JPEG, PNG, GIF, WebP), PDF и текстовые файлы.",
        "": "Такие сообщения я пока не понимаю. Напишите, пожалуйста, словами.",
    }
    STRANGER = "Я разговариваю только с теми, кого допустил мой владелец. Ваш id в Telegram: {user_id}."

    MENU: Mapping[str, str] = {
        "new": "начать новый разговор",
        "retry": "спросить Claude ещё раз о последнем сообщении",
        "stop": "остановить ответ, который сейчас пишется",
        "status": "всё ли работает",
        "memory": "что я вспомнил для последнего ответа",
        "export": "ваша переписка со мной одним файлом",
        "forget": "удалить ваши сообщения и воспоминания",
        "help": "этот список",
    }
    OWNER_MENU: Mapping[str, str] = {
        "people": "кто может со мной говорить",
        "add": "допустить человека: /add ID ИМЯ",
        "remove": "больше не допускать человека или группу: /remove ID",
        "audit": "что делалось в последнее время",
    }
    HELP = "Просто пишите, и я отвечу."
    GROUP_HELP = "В группе я отвечаю, когда меня упоминают или отвечают на моё сообщение. Здесь я знаю:"
    OWNER_HELP = "Для вас как владельца:"
    OWNER_GROUPS = "В группе: /allow допускает её, /disallow отменяет это."
    ONLY_PRIVATE = "Это только для нашего личного чата: отправьте мне это там."
    ONLY_GROUP = "Это для групп: отправьте это в той группе, о которой речь."
    STOPPING = "Останавливаюсь."
    CUT_OFF = "Больше из этого ответа ничего не пришлю."
    STOPPED = "Остановлено: на это я не отвечаю. /retry спросит ещё раз."
    TAKEN_BACK = "Этот ответ отозван."
    NOTHING_TO_STOP = "Останавливать нечего: я сейчас ничего не пишу."
    NOTHING_RECALLED = "Для последнего ответа я ничего не вспомнил из прежних разговоров."
    RECALLED = "Для последнего ответа я вспомнил, что вы когда-то писали:"
    DELETE_MEMORY = "Удалить {number}"
    MEMORY_DELETED = "Удалено."
    MEMORY_GONE = "Это уже было удалено."
    FORGET = (
        "Удалить всё, что вы мне писали, здесь и в группах, с моими ответами и всеми воспоминаниями об этом? Вернуть"
        " это нельзя; /export сначала даст вам копию. В журнале действий останется, когда вы мне писали, но ни слова из"
        " написанного; резервные копии хранят своё содержимое, пока их не сменят новые. То, что показывает сам"
        " Telegram, удалите там."
    )
    FORGET_YES = "Да, удалить всё"
    FORGET_NO = "Нет, оставить"
    FORGOT = "Всё ваше удалено: сообщения, ответы и воспоминания."
    FORGOT_NOTHING = "Ничего не удалено."
    BUTTON_UNKNOWN = "Эта кнопка больше ничего не делает."
    BUTTON_TOO_OLD = "Эта кнопка устарела. Отправьте /forget ещё раз."
    NOTHING_KEPT = "Я ничего вашего не храню: переписки нет."
    EXPORT_HEAD = "Ваша переписка со Steward"
    EXPORT_ZONE = "Время: {zone}"
    EXPORT_CONVERSATION = "Разговор {number}"
    EXPORT_YOU = "Вы"
    PEOPLE = "Кто может со мной говорить:"
    YOU = "вы, мой владелец"
    FROM_FILE = "из .env"
    BY_COMMAND = "по команде"
    GROUPS = "Группы, в которых со мной может говорить каждый:"
    NO_GROUPS = "Групп нет. Команда /allow, отправленная в группе, допускает её."
    PEOPLE_HELP = "/add ID ИМЯ допускает человека, /remove ID убирает человека или группу."
    ADD_HOW = (
        "Отправьте /add с id человека в Telegram и именем, например /add 12345678 Bob. Этот id я называю каждому,"
        " кто мне пишет."
    )
    ADDED = "{who}: теперь может со мной говорить."
    REMOVE_HOW = "Отправьте /remove с id, который показывает /people, например /remove 12345678."
    REMOVED_WHO = "{id}: больше не может со мной говорить; на то, что оттуда ждало, я не отвечу."
    IN_FILE_ALREADY = "{id} уже допущен через .env."
    IN_FILE = "{id} записан в .env, командой его не убрать: удалите его там из {line} и выполните `make up`."
    NOT_LET_IN = "{id} не допущен. /people показывает, кто допущен."
    OWNER_STAYS = "Вы мой владелец, вы остаётесь."
    GROUP_ADDED = "Теперь я отвечаю в этой группе всем, кто упоминает меня или отвечает на мои сообщения."
    GROUP_NOT_LET_IN = "В этой группе я не отвечаю. /allow допускает её."
    TOO_MANY = "Сообщений слишком много сразу, поэтому это я не принял. Отправьте его ещё раз {moment}."

    FAILURES: Mapping[str, str] = {
        "no_credential": "Я ещё не подключён к Claude: мой владелец должен вписать его ключ в мои настройки.",
        "sign_in": "Claude не принимает мой ключ: мой владелец должен его обновить.",
        "plan_refused": (
            "Claude не обслуживает план моего владельца таким способом: мой владелец должен ввести другой ключ Claude."
        ),
        "no_program": (
            "У меня нет программы для связи с Claude по плану моего владельца: мой владелец должен её установить."
        ),
        "no_credit": "На счёте Claude, которым я пользуюсь, кончились деньги: мой владелец должен его пополнить.",
        "no_model": "Модели Claude из моих настроек не существует: мой владелец должен её сменить.",
        "limit": "Лимит Claude пока исчерпан{until}.",
        "overloaded": "Claude сейчас отвечает с трудом{until}.",
        "refused": "Claude отказался отвечать на это сообщение.",
        "too_long": "Для Claude это слишком длинно. /new начнёт новый разговор; может помочь и сообщение покороче.",
        "no_network": "Claude недоступен: нет соединения.",
        "timed_out": "Claude отвечал слишком долго.",
        "broken": "Ответ Claude оборвался.",
        "stopped": "Я остановился.",
        "early_end": "Ответ Claude закончился слишком рано.",
        "empty": "Claude прислал пустой ответ.",
        "our_bug": "Claude не понял мой запрос. Это моя ошибка, не ваша.",
        "file_refused": "Claude не смог открыть присланный файл. Пожалуйста, пришлите его в другом виде.",
        "file_damaged": "Присланный файл повреждён, или это не то, чем он назван. Пожалуйста, пришлите его заново.",
        "file_gone": "Присланного файла в Telegram больше нет. Пожалуйста, пришлите его заново.",
        "file_unreachable": "Telegram не отдал мне присланный файл.",
        "file_too_large": "Присланный файл для меня слишком велик. Пожалуйста, пришлите файл поменьше или его часть.",
        "too_many_files": "Столько файлов сразу я не посмотрю. Пожалуйста, присылайте не больше 20.",
    }
    OWNERS_TURN = ": мой владелец"
    KEPT = " Ваше сообщение сохранено; /retry спросит ещё раз."

    MONTHS = (
        *("января", "февраля", "марта", "апреля", "мая", "июня"),
        *("июля", "августа", "сентября", "октября", "ноября", "декабря"),
    )
    AT = "в {time}"
    ON = "{day} в {time}"
    AGAIN = "; снова должно заработать {moment}"
    D, H, MIN, S = "д", "ч", "мин", "с"
    DAYS, ONE_DAY, HOURS = "{days} д", "один день", "несколько часов"

    ENTER: Mapping[str, str] = {
        "telegram": "впишите TELEGRAM_BOT_TOKEN, токен от @BotFather, в .env и выполните `make up`",
        "slack": "впишите SLACK_TOKEN в .env и выполните `make up`",
        "clickup": "впишите CLICKUP_TOKEN в .env и выполните `make up`",
        "claude": "впишите ключ Claude в .env (какие бывают, сказано в .env.example) и выполните `make up`",
        "google": "запустите setup_google.py (как, сказано в README)",
    }
    ENTER_AGAIN = "введите его заново"
    CREDENTIALS: Mapping[str, str] = {
        "missing": "Нет токена {name}: {enter}.",
        "damaged": (
            "Токен {name} не открывается; введите его заново: {enter}."
            " Если не поможет, сначала выполните `credentials.py remove {service}`."
        ),
        "invalid_grant": "{name} больше не принимает вход Steward. Войдите заново: {enter}.",
        "refresh_interrupted": (
            "Steward остановили как раз тогда, когда обновлялся вход в {name}, а обновить его можно только один раз."
            " Войдите заново: {enter}."
        ),
        "answer_lost": (
            "Ответ {name} потерялся, когда обновлялся вход, а обновить его можно только один раз."
            " Войдите заново: {enter}."
        ),
        "client_refused": (
            "{name} не принимает клиент, от имени которого входит Steward. Проверьте его id (и секрет), затем {enter}."
        ),
        "no_connection": "Сейчас {name} не отвечает; я спрошу позже.",
        "ended": "Срок входа в {name} кончился, как и ожидалось. Войдите заново: {enter}.",
    }
    REFUSED_QUESTION = "{name} отклоняет мой вопрос о токене и называет причину {code}. Проверьте токен в .env."
    ENDS_SOON = "Ваш вход в {name} действует ещё {days}. Чтобы не было перерыва, {enter}."
    NOT_CHECKED = "ещё не проверялся"
    WORKED = "работал {span} назад"
    SEALED = "хранится запечатанным; работает ли, будет видно при использовании"
    ENDS_IN = "действует ещё {days}"

    BOT, WORKERS, HEALTH_WATCH = "Бот", "Рабочие процессы", "Наблюдение"
    WORKS = "работает"
    REDIS_ANSWERS, REDIS_SILENT = "отвечает", "не отвечает (сообщения лишь идут чуть дольше)"
    NO_WORKERS = "ни один не запущен; сообщения хранятся, и ответы на них придут"
    QDRANT: Mapping[str | None, str] = {
        None: "отвечает",
        "refused": "не принимает QDRANT_API_KEY (ответы приходят и без воспоминаний)",
        "no_answer": "не отвечает (ответы приходят и без воспоминаний)",
        "damaged": "не может прочитать коллекцию (ответы приходят и без воспоминаний)",
    }
    NOT_WATCHED = "молчит, и если что-то сломается, никто вам не скажет; запустит его `make up`"
    NOT_SEEN = "ещё не проверено"
    NEVER_ASKED = "ответов ещё не было"
    ANSWERED = "отвечал {span} назад"
    NO_ANSWERS = "нет ответов с {since}. {why}"
    SINCE = "{said}, с {since}"
    QUEUE, OLDEST = "Сообщений в очереди: {count}", ", самое раннее ждёт {span}"
    UNINDEXED = "Ещё не в памяти: {count}"
    LAST_BACKUP, NO_BACKUP = "Последняя резервная копия: {span} назад", "Последняя резервная копия: неизвестно"
    VERSIONS = "Версии: {versions}"

    PARTS: Mapping[str, str] = {
        "postgres": "PostgreSQL",
        "redis": "Redis",
        "qdrant": "Qdrant",
        "telegram": "Telegram",
        "keys": "Главный ключ",
        "bot": "Бот",
        "workers": "Рабочие процессы",
        "polling": "Получение сообщений",
        "backlog": "Ответы",
        "claude": "Claude",
        "disk": "Место на диске",
        "disk_filling": "Место на диске",
        "retention": "Очистка",
    }
    WELL_AGAIN: Mapping[str, str] = {
        "keys": "снова верный",
        "workers": "снова все работают",
        "backlog": "снова приходят вовремя",
        "disk": "снова хватает",
        "disk_filling": "снова хватает",
    }
    WORKS_AGAIN = "снова работает"
    LOGS = (
        "посмотрите `docker compose ps` и `docker compose logs {service}`; часто помогает"
        " `docker compose restart {service}`."
    )
    _LATER = "Telegram хранит новые сообщения 24 часа; потом на них придут ответы."
    _KEPT_FOR_WORKERS = "Сообщения принимаются и хранятся; ответы придут, когда рабочий процесс вернётся."
    NO_MEMORIES = "Отвечаю без воспоминаний о прежних разговорах. Ничего не теряется."
    _SLOWER = "Ответы приходят, но на несколько секунд позже. Ничего не теряется."
    _FREE = (
        "освободите место: например, командой `docker system prune`, убрав старые резервные копии или поставив диск"
        " побольше; чем он занят, покажет `docker system df -v`."
    )
    TROUBLES: Mapping[str, Mapping[str, Trouble]] = {
        "postgres": {
            "no_tables": Trouble(
                "В PostgreSQL нет нужных таблиц, или они старее программ",
                "Пока их нет, часть ваших сообщений нельзя ни принять, ни обработать. Telegram хранит их 24 часа.",
                "`make up` приведёт таблицы в порядок.",
            ),
            "no_answer": Trouble(
                "PostgreSQL не отвечает или не может записывать",
                "Пока он не вернётся, ничего нельзя ни принять, ни обработать. Telegram хранит новые сообщения"
                " 24 часа; потом на них придут ответы.",
                LOGS.format(service="postgres"),
            ),
        },
        "redis": {
            "no_answer": Trouble("Redis не отвечает", _SLOWER, LOGS.format(service="redis")),
            "full": Trouble(
                "Redis переполнен и больше ничего не принимает",
                _SLOWER,
                "ничего ценного там нет: `docker compose exec redis redis-cli flushall` его опустошит.",
            ),
        },
        "qdrant": {
            "no_answer": Trouble("Qdrant не отвечает", NO_MEMORIES, LOGS.format(service="qdrant")),
            "refused": Trouble(
                "Qdrant не принимает QDRANT_API_KEY",
                NO_MEMORIES,
                "впишите в .env ключ, с которым он запущен, и выполните `make up`.",
            ),
            "damaged": Trouble("Qdrant не может прочитать коллекцию", NO_MEMORIES, LOGS.format(service="qdrant")),
        },
        "telegram": {
            "no_answer": Trouble(
                "Telegram не отвечает или отвечает слишком медленно",
                "Сообщения приходят и уходят с опозданием. Ваши Telegram хранит 24 часа, а ответы храню я.",
                "проверьте, есть ли у сервера интернет; если есть, подождите.",
            ),
            "refused": Trouble(
                "Telegram не принимает токен бота",
                "Связаться со мной не может никто.",
                "возьмите у @BotFather новый токен, впишите его в TELEGRAM_BOT_TOKEN в .env и выполните `make up`.",
            ),
        },
        "keys": {
            "wrong": Trouble(
                "То, что запечатано в базе, не открывается с этим MASTER_KEY",
                "После остановки бот и рабочие процессы уже не запустились бы. Ничего не изменено.",
                "верните верный ключ (он есть в вашей копии .env) и выполните `make up`. Если ключ верный, чего не"
                " хватает, скажет `docker compose logs healthwatch`.",
            ),
        },
        "bot": {
            "missing": Trouble(
                "Бот не запущен",
                f"Сообщения никто не принимает. {_LATER}",
                "почему он завершился, скажет `docker logs bot | tail`; запустит его `make up`.",
            ),
            "silent": Trouble(
                "Бот завис или умер",
                f"Сообщения никто не принимает. {_LATER}",
                "посмотрите `docker logs bot | tail`; часто помогает `docker compose restart bot`.",
            ),
        },
        "workers": {
            "missing": Trouble(
                "Ни один рабочий процесс не запущен",
                _KEPT_FOR_WORKERS,
                "почему он завершился, скажет `docker compose logs worker`; запустит его `make up`.",
            ),
            "silent": Trouble(
                "Все рабочие процессы зависли или умерли", _KEPT_FOR_WORKERS, LOGS.format(service="worker")
            ),
            "some_silent": Trouble(
                "Рабочие процессы, которые зависли или умерли: {silent} из {of}",
                "Остальные работают; чьё-то сообщение может подождать, пока умерший процесс не исчезнет или не"
                " вернётся.",
                LOGS.format(service="worker"),
            ),
        },
        "polling": {
            "no_updates": Trouble(
                "Бот жив, но ничего не получает от Telegram",
                _LATER,
                "посмотрите `docker logs bot | tail`.",
            ),
            "Conflict": Trouble(
                "Сообщения бота забирает из Telegram другая программа, или задан webhook",
                "То, что забрала другая программа, до меня не дойдёт.",
                "остановите другую программу с токеном этого бота; или возьмите у @BotFather новый токен, впишите его"
                " в TELEGRAM_BOT_TOKEN в .env и выполните `make up`.",
            ),
        },
        "backlog": {
            "late": Trouble(
                "Ответы занимают больше десяти минут",
                "То, что вы пишете, хранится, и ответы придут.",
                "/status покажет, сколько сообщений ждёт; посмотрите `docker compose logs worker`.",
            ),
        },
        "disk": {
            "full": Trouble(
                "На диске почти не осталось места: {disks}",
                "Когда оно кончится, ничего нельзя будет сохранить.",
                _FREE,
            ),
            "no_folder": Trouble(
                "Не получается посмотреть папку из DISK_PATHS: {disks}",
                "Я не вижу, заполняется ли её диск.",
                "с Docker выполните `make up`; без него исправьте DISK_PATHS в .env и снова запустите healthwatch.py.",
            ),
        },
        "disk_filling": {
            "filling": Trouble("Диск заполняется: {disks}", "Пока всё работает.", _FREE),
        },
        "retention": {
            "late": Trouble(
                "Старые записи журнала действий не удаляются",
                "Всё работает; база данных растёт.",
                "посмотрите `docker compose logs healthwatch`.",
            ),
        },
    }
    CLAUDE_TROUBLE = Trouble(
        "Claude не ответил на последний запрос",
        "Сообщения хранятся; /retry спросит ещё раз.",
        "ничего, если пройдёт само; как дела, покажет /status.",
    )
    CLAUDE_DO: Mapping[str, str] = {
        "no_credential": f"{ENTER['claude']}.",
        "sign_in": f"{ENTER['claude']}.",
        "plan_refused": f"{ENTER['claude']}.",
        "no_program": "удалите CLAUDE_CODE=0 из .env и выполните `make up` (без Docker: установите Claude Code).",
        "no_credit": "пополните счёт Claude.",
        "no_model": "впишите существующую модель в CLAUDE_MODEL в .env и выполните `make up`.",
        "our_bug": "посмотрите, нет ли более нового Steward; больше скажет `docker compose logs worker`.",
    }
    CANNOT_SEE = Trouble(
        "{name}: из-за моей ошибки я не вижу, как обстоят дела",
        "Возможно, всё работает.",
        "посмотрите `docker compose logs healthwatch`.",
    )
    SOME, ALL, UNKNOWN = "часть", "всех", "неизвестно"
    AWAY = "{what} — с {since}.{often}\n{means}\nЧто делать: {do}"
    OFTEN = " То пропадает, то возвращается; раз: {times}."
    WAS_AWAY = "{name}: {well} с {end}; сбой начался {began} и длился {length}."
    WAS_AWAY_OFTEN = "{name}: {well} с {end}; сбоев начиная с {began}: {times}."
    RELAPSED = "{name}: снова сбой, с {since}. Если он не пройдёт, я напишу ещё раз."
    LATE_NEWS, OVER, STILL_SO = "Вовремя сказать не удалось: всё уже прошло.", "Всё прошло.", "Всё по-прежнему."
    WATCH_SILENT = (
        "healthwatch.py не подаёт признаков жизни: за мной никто не следит.\nЯ отвечаю и дальше, но если что-то"
        " сломается, вы об этом не узнаете, а входы больше не обновляются.\nЧто делать: почему это так, скажет"
        " `docker compose logs healthwatch`; запустит его `make up`."
    )
    WATCH_BACK = "healthwatch.py снова следит за мной. Прошло с тех пор, как я сообщил о его молчании: {span}."

    AUDIT_HEAD = "Последние действия (время: {zone}). /audit и id, или первые 8 его знаков, покажет историю целиком."
    AUDIT_EMPTY = "Ещё ничего не делалось, или это было так давно, что больше не хранится."
    AUDIT_NO_ID = (
        "Это не id. Отправьте /audit, пробел и id, как его показывает /audit, или хотя бы первые 8 его знаков; это"
        " цифры 0-9 и латинские буквы a-f."
    )
    AUDIT_NOT_FOUND = (
        "Под этим id ничего не хранится. Сверьте его с тем, что у вас есть (последние покажет /audit); то, что было"
        " давно, удалено."
    )
    AUDIT_SEVERAL = "Так начинаются несколько id. Пришлите побольше знаков нужного:"
    AUDIT_STORY = "История {correlation_id} (время: {zone}):"
    AUDIT_MORE = "... и ещё: {count}"
    PERSONS: Mapping[str, str] = {
        "owner": "вы",
        "system": "Steward",
        "user": "пользователь {id}",
        "stranger": "посторонний {id}",
        "group": "группа {id}",
    }
    KINDS: Mapping[str, str] = {
        "message": "сообщение",
        "edited_message": "правка сообщения",
        "callback_query": "нажатие кнопки",
        "stopped_message_generation": "просьба прервать ответ",
        "unreadable": "нечитаемое обновление",
        "other": "другое обновление",
    }
    STATES: Mapping[str, str] = {
        "waiting": "ждёт",
        "answered": "есть ответ",
        "failed": "Claude не ответил",
        "set_aside": "отложено",
        "noted": "принято к сведению",
        "parked": "сохранено непрочитанным",
    }
    NO_ID = "неизвестный"
    TOKENS = "; токенов на входе: {into} (из кэша: {cached}), на выходе: {out}"
    RECEIVED = "{kind}, от кого: {who}; теперь: {state}"
    ATTEMPT, ATTEMPTS = ", попытка: 1", ", попыток: {count}"
    SAID, ALERTED = "ответ, кому: {who}; {found}", "оповещение, кому: {who}; {found}"
    PART, PARTS_SAID = "частей: 1", "частей: {count}"
    SENT, SOME_SENT = "отправлено", "отправлено: {count}"
    REFUSED, SOME_REFUSED = "не принято", "не принято: {count}"
    UNSENT, SOME_UNSENT = "ещё не отправлено", "ещё не отправлено: {count}"
    MAYBE_REPEAT = "возможен повтор"

    _SLACK_NEW = "Создайте новый на странице OAuth приложения, впишите его в SLACK_TOKEN в .env и выполните `make up`."
    _SLACK_COPY = "Скопируйте токен бота со страницы OAuth приложения в SLACK_TOKEN в .env и выполните `make up`."
    _SLACK_ADMIN = "Обратитесь к администратору вашего рабочего пространства Slack."
    _SLACK_MOVE = (
        "Slack переносит это рабочее пространство в большую организацию. Делать ничего не нужно: я спрошу позже."
    )
    _SLACK_AWAY = "У Slack сейчас свои неполадки. Делать ничего не нужно: я спрошу позже."
    _SLACK_BUSY = "Slack просит меня подождать. Делать ничего не нужно: я спрошу позже."
    _SLACK_OURS = "Slack не понял мой вопрос. Это моя ошибка: посмотрите, нет ли более нового Steward."
    _SLACK_OLD = "Slack больше не отвечает на мой способ спрашивать. Посмотрите, нет ли более нового Steward."
    _SLACK_RIGHTS = (
        "Приложению Slack не хватает права. Добавьте его на странице OAuth приложения, установите приложение заново,"
        " впишите токен в SLACK_TOKEN в .env и выполните `make up`."
    )
    SLACK: Mapping[str, str] = {
        "access_denied": f"Slack не даёт этому токену то, о чём я спросил. {_SLACK_ADMIN}",
        "accesslimited": f"Из сети, в которой я работаю, пользоваться Slack нельзя. {_SLACK_ADMIN}",
        "account_inactive": f"Учётной записи или рабочего пространства Slack с этим токеном больше нет. {_SLACK_NEW}",
        "ekm_access_denied": f"Администраторы приостановили доступ к этому пространству Slack. {_SLACK_ADMIN}",
        "enterprise_is_restricted": (
            f"Этот токен Slack выдан на всю организацию, а мне нужно одно пространство. {_SLACK_NEW}"
        ),
        "invalid_auth": f"Slack не принимает этот токен, или не принимает его отсюда. {_SLACK_COPY}",
        "is_bot": f"Slack больше не пускает ботов такого старого вида. Создайте новое приложение Slack. {_SLACK_COPY}",
        "malformed": f"То, что стоит в SLACK_TOKEN, не может быть токеном. {_SLACK_COPY}",
        "missing_scope": _SLACK_RIGHTS,
        "no_permission": _SLACK_RIGHTS,
        "not_allowed_token_type": (
            f"Это токен Slack не того вида: он должен начинаться с xoxb или xoxp. {_SLACK_COPY}"
        ),
        "not_authed": f"Slack не нашёл токена в моём вопросе. {_SLACK_COPY}",
        "token_expired": f"Срок действия этого токена Slack истёк. {_SLACK_NEW}",
        "token_revoked": f"Slack говорит, что этот токен отозван. {_SLACK_NEW}",
        "two_factor_setup_required": (
            "Slack требует для этой учётной записи второй способ входа. Настройте его в Slack."
        ),
        "org_login_required": _SLACK_MOVE,
        "team_added_to_org": _SLACK_MOVE,
        "deprecated_endpoint": _SLACK_OLD,
        "method_deprecated": _SLACK_OLD,
        "upgrade_required": _SLACK_OLD,
        "unknown_method": (
            "Slack не знает того, о чём я спросил. Проверьте SLACK_API_URL в .env или поищите более новый Steward."
        ),
        "invalid_arg_name": _SLACK_OURS,
        "invalid_arguments": _SLACK_OURS,
        "invalid_array_arg": _SLACK_OURS,
        "invalid_charset": _SLACK_OURS,
        "invalid_form_data": _SLACK_OURS,
        "invalid_json": _SLACK_OURS,
        "invalid_post_type": _SLACK_OURS,
        "json_not_object": _SLACK_OURS,
        "missing_post_type": _SLACK_OURS,
        "fatal_error": _SLACK_AWAY,
        "internal_error": _SLACK_AWAY,
        "request_timeout": _SLACK_AWAY,
        "service_unavailable": _SLACK_AWAY,
        "rate_limited": _SLACK_BUSY,
        "ratelimited": _SLACK_BUSY,
        "unknown": "Slack ответил то, чего я не понимаю. Я спрошу позже.",
    }
    _CLICKUP_NEW = (
        "Создайте новый в ClickUp (Settings, Apps), впишите его в CLICKUP_TOKEN в .env и выполните `make up`."
    )
    _CLICKUP_COPY = "Скопируйте его из ClickUp (Settings, Apps) в CLICKUP_TOKEN в .env и выполните `make up`."
    _CLICKUP_GONE = f"ClickUp не знает этого токена; возможно, его заменили или отозвали. {_CLICKUP_NEW}"
    _CLICKUP_TEAM = (
        f"Этому токену не видно ваше пространство ClickUp. Войдите там как один из его участников. {_CLICKUP_NEW}"
    )
    CLICKUP: Mapping[str, str] = {
        "OAUTH_007": "Приложение ClickUp возвращает людей не на тот адрес, что указан. Исправьте это в ClickUp.",
        "OAUTH_010": f"Приложения ClickUp с этим токеном больше нет, или оно настроено неверно. {_CLICKUP_NEW}",
        "OAUTH_017": f"ClickUp не нашёл токена в моём вопросе. {_CLICKUP_COPY}",
        **dict.fromkeys(("OAUTH_018", "OAUTH_019", "OAUTH_021", "OAUTH_025", "OAUTH_077"), _CLICKUP_GONE),
        **dict.fromkeys(("OAUTH_023", "OAUTH_026", "OAUTH_027"), _CLICKUP_TEAM),
        **dict.fromkeys((f"OAUTH_{number:03}" for number in range(29, 46)), _CLICKUP_TEAM),
        "OAUTH_171": "В ClickUp уже есть то, что я просил настроить. Делать ничего не нужно.",
        "malformed": f"То, что стоит в CLICKUP_TOKEN, не может быть токеном. {_CLICKUP_COPY}",
        "ratelimited": "ClickUp просит меня подождать. Делать ничего не нужно: я спрошу позже.",
        "service_unavailable": "У ClickUp сейчас свои неполадки. Делать ничего не нужно: я спрошу позже.",
        "unknown": "ClickUp ответил то, чего я не понимаю. Я спрошу позже.",
    }
