"""Ordinary sentences in 32 languages, whose mean vector is the centre of the texts that an encoder may be given.

They were written for this purpose, on varied subjects and in varied moods, so that their mean leans to no label.
"""

from __future__ import annotations

SENTENCES = (
    """
The council will vote on the new road next week. | What a lovely surprise, thank you all so much!
The phone no longer charges after the update. | The lake lies between two hills in the north of the country.
Der Zug nach Hamburg fällt heute aus. | Meine Tochter lernt seit zwei Jahren Klavier.
Pfui, in der Suppe war ein Haar. | Die Burg wurde im zwölften Jahrhundert gebaut.
Le village se trouve au pied d'une montagne. | Nous avons passé nos vacances au bord de la mer.
Je suis furieux, on m'a encore menti. | Ce livre raconte la vie d'un pêcheur.
El río atraviesa tres provincias antes de llegar al mar. | Mi pedido llegó roto y quiero devolverlo.
Qué miedo pasé anoche en esa calle. | Los alumnos aprenden a leer con cuentos.
O banco aumentou a taxa de juros. | Que nojo, o banheiro estava imundo.
O cachorro do vizinho late a noite toda. | A ilha tem praias de areia branca.
Il ristorante vicino alla stazione è sempre pieno. | Non ci posso credere, abbiamo vinto!
Mi manca tanto mia nonna. | Il vulcano domina la città dall'alto.
De burgemeester opende gisteren de brug. | Ik wil graag een kamer boeken voor drie nachten.
De film duurt bijna drie uur. | Bah, wat een vieze geur in deze gang.
Policja zatrzymała kierowcę na autostradzie. | Babcia upiekła ciasto z jabłkami.
Jestem taka szczęśliwa! | Najwyższy szczyt leży na granicy dwóch państw.
Les pokrývá většinu území kraje. | V zimě jezdíme na hory lyžovat.
Bojím se, co bude zítra. | Koncert začíná v osm hodin.
Am uitat parola contului meu. | Mă doare capul de trei zile.
Munții sunt acoperiți de zăpadă. | Ce rușine, nu am cuvinte!
A vonat késett fél órát. | A tudósok új bolygót találtak.
A gyerekek a parkban játszanak. | Elegem van ebből az egészből.
Kissa nukkuu ikkunalla. | Joukkue voitti ottelun.
En olisi ikinä uskonut tätä. | Saaristossa on tuhansia saaria.
Vi åt middag på en liten restaurang. | Datorn startar inte längre.
Jag saknar dig varje dag. | Älven rinner genom djupa skogar.
Το πλοίο φεύγει για το νησί το πρωί. | Οι γιατροί προτείνουν περπάτημα.
Χρόνια πολλά, να είσαι πάντα καλά! | Η πεδιάδα καλλιεργείται από τα αρχαία χρόνια.
Annem akşam yemeği pişiriyor. | Bu telefonun pili çabuk bitiyor.
Başkent ülkenin ortasında yer alır. | İğrenç bir koku vardı.
Вчера мы ходили в театр. | Учёные изучают дно океана.
Посылка пришла с опозданием. | Город стоит на берегу широкой реки.
Уряд оголосив про нові вибори. | Я дуже скучаю за домом.
Дякую, це найкращий день! | Степ тягнеться аж до моря.
Времето в планината е студено. | Новият телефон е скъп.
Не мога да повярвам, че го направи. | Децата се страхуват от тъмното.
فاز الفريق بالمباراة مساء أمس. | أشعر بالتعب منذ أيام.
تقع المدينة القديمة وسط الصحراء. | يا لها من مفاجأة جميلة!
پزشکان داروی تازه‌ای را آزمایش کردند. | ما در تعطیلات به دریا رفتیم.
از دست تو خیلی عصبانی هستم. | این رود از کوه‌های شمال می‌آید.
הסרט החדש ארוך מדי. | איזה גועל, האוכל היה מקולקל.
העמק נמצא בין שני הרים. | מחר יש לי מבחן.
मेरा फोन खराब हो गया है। | बाज़ार में सब्ज़ियाँ महँगी हो गई हैं।
यह नदी पहाड़ों से निकलती है। | मुझे बहुत डर लग रहा है।
আমার পার্সেল এখনও আসেনি। | নদীর ধারে একটি গ্রাম আছে।
আজ আমি খুব খুশি। | সরকার নতুন আইন ঘোষণা করেছে।
அணி போட்டியில் வென்றது. | மலையில் மழை பெய்கிறது.
இந்தக் கோயில் மிகப் பழமையானது. | எனக்கு மிகவும் கவலையாக இருக்கிறது.
หมอแนะนำให้พักผ่อน | โทรศัพท์ของฉันเสีย
เกาะนี้อยู่ทางใต้ของประเทศ | ดีใจมากที่ได้เจอกันอีก
Tôi quên mật khẩu tài khoản. | Đội tuyển thắng trận tối qua.
Vùng đồng bằng có nhiều kênh rạch. | Thật là ghê tởm.
Pesanan saya belum sampai. | Harga beras naik lagi.
Gunung itu terletak di tengah pulau. | Aduh, kaget sekali aku!
我的手机坏了。 | 医生建议多休息。
这座城市位于两条河之间。 | 太高兴了，谢谢大家！
山の天気は変わりやすい。 | 昨日、友だちと映画を見た。
気持ち悪い、もう食べたくない。 | 会社は来月から値段を上げる。
주문한 물건이 아직 오지 않았다. | 할머니가 너무 보고 싶다.
그 섬은 남쪽 바다에 있다. | 정부가 새 법을 발표했다.
Simu yangu imeharibika. | Timu ilishinda mchezo jana usiku.
Ziwa hili liko kati ya nchi tatu. | Nimekasirika sana leo.
My selfoon is stukkend. | Die span het gisteraand gewen.
Ek is so bly vir jou. | Die plaas lê langs die rivier.
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)
